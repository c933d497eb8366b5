// What the device remembers of bundles: which it has installed, which failed, the highest sequence.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/result.hpp"
#include "oci/digest.hpp"

namespace agent::record {

struct RememberedBundle {
  bool installed = false;  // else: it was tried and taken back
  std::uint64_t sequence = 0;
  std::uint64_t at = 0;  // seconds since 1970 UTC, by the device's clock
  std::string why;       // of a failure
  // The failure may have been a power cut: the bundle is tried a second time, and not a third.
  bool once_more = false;
};

/// A JSON file in the state directory, rewritten durably for each change. Keeps the kMaxRemembered
/// bundles of the highest sequences; the highest sequence of each fleet is never forgotten.
class Ledger {
 public:
  static constexpr std::size_t kMaxRemembered = 256;

  /// \error ErrorCode::kJournal when the file is there but cannot be understood: a device that has
  ///   lost its memory must not take old bundles
  static base::Result<Ledger> open(const std::filesystem::path& state_dir);
  /// Knows nothing yet: for whoever opens the real one before it is asked anything.
  static Ledger unopened(const std::filesystem::path& state_dir);

  [[nodiscard]] std::optional<RememberedBundle> find(const oci::Digest& bundle) const;
  /// 0 when none was installed.
  [[nodiscard]] std::uint64_t highest_sequence(const std::string& fleet_uuid) const;

  /// \error ErrorCode::kJournal
  base::Status installed(const oci::Digest& bundle, const std::string& fleet_uuid,
                         std::uint64_t sequence, std::uint64_t at);
  /// \param by_power_cut whether a power cut looks the same: the first time that this is so the
  ///   bundle may be tried once more
  base::Status failed(const oci::Digest& bundle, std::uint64_t sequence, std::uint64_t at,
                      const base::Error& why, bool by_power_cut = false);
  /// The person at the device wants it tried again.
  base::Status forget(const oci::Digest& bundle);

 private:
  explicit Ledger(std::filesystem::path file) : file_(std::move(file)) {}
  [[nodiscard]] base::Status save() const;
  void remember(const oci::Digest& bundle, RememberedBundle entry);

  std::filesystem::path file_;
  std::map<oci::Digest, RememberedBundle> bundles_;
  std::map<std::string, std::uint64_t> highest_;
};

}  // namespace agent::record
