// What the agent was doing when the power went: written before each step, read first at every
// start.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/result.hpp"
#include "oci/digest.hpp"

namespace agent::record {

/// Where an update stands. The order is that of a successful one; kReverting leads back.
enum class Phase {
  kPulling,     // images go into the engine; nothing that runs has been touched
  kSwitching,   // the supervisor's target is being changed: repeat the switch
  kConfirming,  // the new release is being watched
  kCommitting,  // it is good: names and tags are being tidied
  kReverting,   // it is not: the old release is being put back
};

/// "pulling", "switching", "confirming", "committing", "reverting".
std::string_view name_of(Phase phase);

struct JournalEntry {
  Phase phase = Phase::kPulling;
  oci::Digest bundle;  // digest of its manifest
  std::string bundle_name;
  std::string directory_name;  // on the medium
  std::string fleet_uuid;
  std::uint64_t sequence = 0;
  std::string from_commit;
  std::string to_commit;
  std::uint64_t started_at = 0;  // seconds since 1970 UTC, by the device's clock
  std::uint16_t registry_port = 0;
  std::string registry_token;
  std::uint32_t confirm_seconds = 0;
  bool require_healthy = false;
  bool override_update_lock = false;
  std::string release_switch_json;     // install::to_json(ReleaseSwitch); from kSwitching on
  std::optional<base::Error> failure;  // why it is being reverted
};

/// One JSON file that is there only while an update is under way.
class Journal {
 public:
  explicit Journal(const std::filesystem::path& state_dir) : file_(state_dir / "journal.json") {}

  /// \error ErrorCode::kJournal when the file is there but cannot be understood
  [[nodiscard]] base::Result<std::optional<JournalEntry>> load() const;
  /// Durable when it returns. \error ErrorCode::kJournal
  [[nodiscard]] base::Status write(const JournalEntry& entry) const;
  /// No update is under way any more. \error ErrorCode::kJournal
  [[nodiscard]] base::Status clear() const;

 private:
  std::filesystem::path file_;
};

}  // namespace agent::record
