// What the agent was doing when the power went: written before each step, read first at every
// start.
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

/// Where an update stands. The order is that of a successful one; kReverting leads back.
enum class Phase {
  kPulling,       // images go into the engine; nothing that runs has been touched
  kInstallingOs,  // the host OS goes into the other slot
  kRebooting,     // it is there and the bootloader will start it: restart the device
  kConfirmingOs,  // the device has been restarted: the OS decides whether it stays
  kConfiguring,   // the OS is settled: supervisor and config.json are being changed
  kSwitching,     // the supervisor's target is being changed: repeat the switch
  kConfirming,    // the new release is being watched
  kCommitting,    // it is good: names and tags are being tidied
  kReverting,     // it is not: the old release is being put back
};

/// "pulling", "installing-os", "rebooting", "confirming-os", "configuring", "switching",
/// "confirming", "committing", "reverting".
std::string_view name_of(Phase phase);

/// The host OS part of an update.
struct OsUpdate {
  std::string from_version;
  std::string to_version;
  oci::Digest image = oci::Digest::of({});
  std::string boot_id;       // of the boot that installs, and then of the one to be left
  std::string running_root;  // what the boot selector said before
};

/// What changes on the host beside OS and release, and how it was.
struct SettingsChange {
  struct Supervisor {
    oci::Digest image = oci::Digest::of({});
    std::string name;
    std::string version;
    bool runs = false;  // it has answered: never an older one again
  };
  std::optional<Supervisor> supervisor;
  std::string old_supervisor_conf;
  std::string patch_json = "{}";  // see bundle::ConfigChange
  std::string undo_json = "{}";   // the patch that undoes it
  std::map<std::string, std::string> connections;
  std::map<std::string, std::string> old_connections;  // that they replace: name to content
};

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
  std::uint64_t app_id = 0;  // of the fleet: its services' update locks
  std::optional<OsUpdate> os;
  std::optional<SettingsChange> settings;
  std::string release_switch_json;     // install::to_json(ReleaseSwitch); empty: no other release
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
