// The host OS of a device in memory: its files in a scratch directory, its bootloader,
// hostapp-update with its hooks, and the rollback services. It goes on by small steps, and the
// power can go between any two of them.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "install/service_manager.hpp"
#include "oci/digest.hpp"
#include "support/faults.hpp"

namespace support {

/// What becomes of the OS that an update installs.
enum class OsBehaviour {
  kGood,
  kDoesNotBoot,    // the bootloader goes back
  kUnhealthy,      // rollback-health goes back
  kHooksFail,      // hostapp-update undoes it and fails
  kNoBreadcrumbs,  // hostapp-update succeeds, and has left something out
  kLockHeld,       // balenaHUP has its lock
};

class FakeHost {
 public:
  static constexpr const char* kOldVersion = "6.5.3";
  static constexpr const char* kNewVersion = "6.6.0+rev1";
  static constexpr const char* kSupervisorConf =
      "mnt/state/root-overlay/etc/balena-supervisor/supervisor.conf";
  static constexpr const char* kSupervisorOverride = "tmp/update-supervisor.conf";

  FakeHost(Faults& faults, std::filesystem::path root);

  // What systemd does
  base::Status run(const agent::install::TransientUnit& unit);
  agent::install::UnitReport report(const std::string& unit) const;
  void forget(const std::string& unit);

  /// One step of everything that goes on. \throws PowerCut when the device is restarted
  void tick();
  /// The power comes back, or the restart is done: bootloader, rollback-altboot, services.
  void boot();

  [[nodiscard]] std::string running_version() const;
  [[nodiscard]] bool is_settled() const;
  [[nodiscard]] std::string read(const std::string& path) const;
  void write(const std::string& path, const std::string& content) const;

  OsBehaviour behaviour = OsBehaviour::kGood;
  bool units_begin_late = false;         // a unit is not seen before the next step
  bool rollback_health_is_late = false;  // the agent is started before it has looked
  int installations = 0;                 // that have begun

 private:
  struct Slot {
    std::string version;
    bool boots = true;
    bool healthy = true;
  };
  void step_of_update();
  void pull();
  void write_slot();
  void copy_boot_files(const std::string& version);
  void run_hooks(bool during_update, const std::string& version);
  void show_slots();
  void set_selector(const std::string& root, bool upgrade, int boot_count);
  [[nodiscard]] bool upgrade_available() const;
  void remove_breadcrumbs();
  [[nodiscard]] std::string other_slot() const { return running_ == "2" ? "3" : "2"; }

  Faults& faults_;
  std::filesystem::path root_;
  std::map<std::string, Slot> slots_;  // by resin_root_part
  std::string running_ = "2";
  std::map<std::string, agent::install::UnitReport> units_;
  std::set<std::string> unseen_;  // units that systemd has accepted and not begun
  std::string reference_;         // that hostapp-update pulls
  std::string image_;             // that it has pulled
  int step_ = 0;
  int boots_ = 0;
  int checks_left_ = 0;  // of rollback-health
  bool going_down_ = false;
  bool nothing_to_confirm_ = false;  // rollback-health is about to find out
};

}  // namespace support
