// How a run ended, for the device's memory, for the stick, and in words for the person who holds
// it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/result.hpp"

namespace agent::record {

enum class RunResult {
  kUpdated,      // what the bundle brought runs and is confirmed
  kUpToDate,     // the device has all of it already
  kRefused,      // nothing was changed
  kFailed,       // it failed before anything that runs was changed
  kReverted,     // the new OS or release did not work; the old one runs again
  kInterrupted,  // the agent was stopped; the next start goes on
  kStaged,       // the bundle is on the device, which goes on without the medium
};

/// "updated", "up-to-date", "refused", "failed", "reverted", "interrupted",
/// "staged".
std::string_view name_of(RunResult result);

/// A bundle that was looked at and not taken.
struct OtherBundle {
  std::string directory_name;  // printable
  base::Error why;
};

struct RunOutcome {
  RunResult result = RunResult::kFailed;
  std::optional<base::Error> error;
  std::string device_uuid;
  std::string bundle_name;
  std::string bundle_digest;
  std::string directory_name;
  std::uint64_t sequence = 0;
  std::string from_commit;
  std::string to_commit;
  std::string from_os;  // versions; empty: the host OS was not part of it
  std::string to_os;
  std::uint64_t started_at = 0;  // seconds since 1970 UTC, by the device's clock
  std::uint64_t finished_at = 0;
  std::uint64_t bytes_read = 0;  // from the medium
  std::vector<OtherBundle> others;
};

std::string to_json(const RunOutcome& outcome);

/// A few lines that a person on site can act on.
std::string to_text(const RunOutcome& outcome);

/// Keeps outcomes in the state directory: outcomes/NNNNNN.json, the last kKept of them, and
/// last-outcome.json.
class OutcomeStore {
 public:
  static constexpr std::size_t kKept = 100;
  explicit OutcomeStore(std::filesystem::path state_dir) : state_dir_(std::move(state_dir)) {}

  /// \error ErrorCode::kOutcome
  [[nodiscard]] base::Status save(const RunOutcome& outcome) const;
  /// The JSON of the last one; nothing when there is none. \error ErrorCode::kOutcome
  [[nodiscard]] base::Result<std::optional<std::string>> last() const;

 private:
  std::filesystem::path state_dir_;
};

/// Writes NAME.json and NAME.txt below `medium_root`/offline-updater-results/ and syncs the file
/// system. NAME is made of the device's UUID, the time and the result: safe on FAT, and one stick
/// can carry those of many devices. Never overwrites a file. One that is interrupted has a name
/// that is made of the device and the bundle alone: while it lasts it is written once. \error
/// ErrorCode::kOutcome
base::Status write_to_medium(const std::filesystem::path& medium_root, const RunOutcome& outcome);

/// Whether the medium has it already: only ever true of one that is interrupted.
bool is_on_medium(const std::filesystem::path& medium_root, const RunOutcome& outcome);

}  // namespace agent::record
