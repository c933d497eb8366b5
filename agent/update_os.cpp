// The steps that bring a device to another host OS. What the OS decides by itself (whether the new
// one stays) is read from its own files, and waited for.
#include <fcntl.h>

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/printable.hpp"
#include "install/os_step.hpp"
#include "record/identity_backup.hpp"
#include "step_failure.hpp"
#include "update_steps.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using install::UnitState;
using record::JournalEntry;

constexpr std::chrono::seconds kPoll{1};
constexpr std::chrono::seconds kUnitTimeout{120};
constexpr std::chrono::seconds kUndoTimeout{900};
constexpr int kMaxSilentLooks = 30;  // in a row: systemd or the OS's files give no answer
constexpr std::size_t kMaxLogLine = 200;

std::filesystem::path os_log(const Config& config) {
  return config.state_dir / "os-update.log";
}

/// The same file as the host names it.
std::string on_host(const Config& config, const std::filesystem::path& path) {
  const auto relative = path.lexically_relative(config.host_root);
  const bool below = !relative.empty() && *relative.begin() != "..";
  return (below ? "/" / relative : path).string();
}

/// What a unit prints, line by line, as it grows.
class LogFollower {
 public:
  explicit LogFollower(std::filesystem::path file) : file_(std::move(file)) {}

  /// Tells of what is new. \return whether there was anything
  bool follow(base::ProgressSink& progress) {
    const auto fd = base::open_file(file_, O_RDONLY);
    base::Bytes piece(std::size_t{16} * 1024);
    const auto count = fd ? base::read_at(fd->get(), piece, offset_) : fd.error();
    if (!count || *count == 0) {
      return false;
    }
    offset_ += *count;
    piece.resize(*count);
    rest_ += base::as_text(piece);
    for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
      const auto line = base::printable(rest_.substr(0, end), kMaxLogLine);
      rest_.erase(0, end + 1);
      base::log::info("host OS: " + line);
      progress.phase("installing the host OS: " + line, 0);
    }
    return true;
  }

 private:
  std::filesystem::path file_;
  std::uint64_t offset_ = 0;
  std::string rest_;
};

/// Follows a unit to its end.
/// \param alive asked once a second; false for longer than the stall
/// timeout ends it
/// \param failure a reason to end it at once
base::Status follow_unit(Device& device, const std::string& unit,
                         const std::function<bool()>& alive,
                         const std::function<std::optional<Error>()>& failure,
                         const std::stop_token& stop) {
  auto last_sign = device.waiter.now();
  int silent_looks = 0;
  for (;;) {
    const auto report = device.services.report(unit);
    // systemd answers before it has begun what it was asked for, and shows nothing of it until
    // then.
    const bool silent = !report || report->state == UnitState::kAbsent;
    if (silent && ++silent_looks > kMaxSilentLooks) {
      return report ? Error(ErrorCode::kOsInstall, "systemd knows nothing of " + unit)
                    : report.error();
    }
    if (!silent) {
      silent_looks = 0;
      if (report->state == UnitState::kSucceeded) {
        return base::ok();
      }
      if (report->state == UnitState::kFailed && report->exit_code == install::kOsLockHeld) {
        return Error(ErrorCode::kUpdateInProgress, "another program is updating the host OS now");
      }
      if (report->state != UnitState::kRunning) {
        return Error(ErrorCode::kOsInstall,
                     "the host OS's own program ended with " +
                         (report->result.empty() ? "no result" : report->result) + " (" +
                         std::to_string(report->exit_code) +
                         "); its last words: " + install::log_tail(os_log(device.config)));
      }
    }
    if (auto reason = failure()) {
      return *std::move(reason);
    }
    if (alive()) {
      last_sign = device.waiter.now();
    } else if (device.waiter.now() - last_sign > device.config.stall_timeout) {
      return Error(ErrorCode::kOsInstall, "the installation of the host OS made no progress for " +
                                              std::to_string(device.config.stall_timeout.count()) +
                                              " s");
    }
    if (!device.waiter.wait(kPoll, stop)) {
      return Error(ErrorCode::kCancelled, "stopped while the host OS is being installed");
    }
  }
}

/// Boot settings that the OS's hooks overwrite, and an identity that is not what it was.
base::Status restore_what_was_lost(Device& device) {
  const auto places = backup_places(device.config);
  OU_TRY(const auto settings, record::restore_boot_settings(places));
  for (const auto& name : settings) {
    base::log::info("put back the boot setting " + name);
  }
  OU_TRY(const auto lost, record::lost_identity(places));
  if (lost.empty()) {
    return base::ok();
  }
  auto access = supervisor_access(device);
  return install::with_supervisor_stopped(access, [&]() -> base::Status {
    OU_TRY(const auto restored, record::restore_lost_identity(places));
    for (const auto& key : restored) {
      base::log::warning("config.json had lost " + key + ": put back from the backup");
    }
    return base::ok();
  });
}

Error reverted(const JournalEntry& entry, const install::HostOsState& state) {
  const auto now = "; this device runs " + state.running.version + " again";
  const auto version = "balenaOS " + entry.os->to_version;
  return state.reverted_by == "rollback-health"
             ? Error(ErrorCode::kOsReverted, version + " did not pass its own health checks" + now)
             : Error(ErrorCode::kOsNotStarted,
                     version + " did not start, or not to the end, as after a power cut" + now);
}

}  // namespace

record::BackupPlaces backup_places(const Config& config) {
  return {
      .boot = config.host_root / "mnt/boot",
      .nonenc_boot = config.host_root / install::unencrypted_boot(config.host_root).relative_path(),
      .state = config.host_root / "mnt/state/offline-updater",
      .data = config.state_dir};
}

base::Result<record::OsUpdate> describe_os_update(const Device& device, const bundle::HostOs& os) {
  OU_TRY(const auto state, install::read_host_os(device.config.host_root));
  if (!state.selector) {
    return Error(ErrorCode::kOsUnsupported,
                 "the boot partition has no file that selects a slot (balenaOS has grubenv, "
                 "bootenv or resinOS_uEnv.txt)");
  }
  return record::OsUpdate{.from_version = state.running.version,
                          .to_version = os.version,
                          .image = os.image,
                          .boot_id = state.boot_id,
                          .running_root = state.selector->root_part};
}

base::Status install_os(Device& device, JournalEntry& entry,
                        const install::LoopbackRegistry& registry,
                        const intake::MediumChunks& chunks, const bundle::Image& image,
                        const std::stop_token& stop) {
  device.progress.phase("installing the host OS", 0);
  OU_TRY(const auto before, device.services.report(install::kOsUnit));
  LogFollower log(os_log(device.config));
  if (before.state != UnitState::kRunning) {
    OU_CHECK(device.services.forget(install::kOsUnit, kUnitTimeout));
    OU_CHECK(base::remove_file_durably(os_log(device.config)));
    OU_CHECK(device.services.run(install::os_unit(registry.reference(image),
                                                  on_host(device.config, os_log(device.config)),
                                                  device.config.os_timeout)));
  }
  auto served = registry.bytes_served();
  const auto done = follow_unit(
      device, install::kOsUnit,
      [&] {
        const bool talked = log.follow(device.progress);
        const auto now = registry.bytes_served();
        const bool grew = now != served;
        served = now;
        return talked || grew || chunks.waiting();
      },
      [&] { return registry.failure(); }, stop);
  log.follow(device.progress);
  OU_CHECK(done);
  return check_and_prepare_reboot(device, entry);
}

base::Status check_and_prepare_reboot(Device& device, JournalEntry& entry) {
  const auto& root = device.config.host_root;
  OU_CHECK(install::check_installed_os(root, entry.os->image, entry.os->running_root));
  OU_CHECK(restore_what_was_lost(device));
  OU_CHECK(install::expect_no_vpn(root));
  OU_TRY(const auto state, install::read_host_os(root));
  entry.os->boot_id = state.boot_id;
  return base::ok();
}

base::Status complete_boot_files(Device& device, const std::stop_token& stop) {
  OU_CHECK(device.services.forget(install::kOsUndoUnit, kUnitTimeout));
  OU_CHECK(device.services.run(
      install::os_undo_unit(on_host(device.config, os_log(device.config)), kUndoTimeout)));
  OU_CHECK(follow_unit(
      device, install::kOsUndoUnit, [] { return true; },
      []() -> std::optional<Error> { return std::nullopt; }, stop));
  return restore_what_was_lost(device);
}

base::Status undo_os(Device& device, const JournalEntry& entry, const std::stop_token& stop) {
  device.progress.phase("undoing the installation of the host OS", 0);
  OU_CHECK(device.services.forget(install::kOsUnit, kUnitTimeout));
  OU_CHECK(complete_boot_files(device, stop));
  return install::check_undone_os(device.config.host_root, entry.os->running_root);
}

base::Result<OsProgress> os_progress(Device& device, const JournalEntry& entry) {
  OU_TRY(const auto state, install::read_host_os(device.config.host_root));
  if (state.boot_id == entry.os->boot_id) {
    OU_TRY(const auto unit, device.services.report(install::kOsUnit));
    return unit.state == UnitState::kSucceeded ? OsProgress::kInstalled : OsProgress::kNeedsMedium;
  }
  const bool tried = state.unconfirmed || !state.reverted_by.empty() ||
                     state.running.version == entry.os->to_version;
  return tried ? OsProgress::kTakenOver : OsProgress::kNeedsMedium;
}

base::Status take_up_os(Device& device, JournalEntry& entry, const std::stop_token& stop) {
  OU_TRY(const auto progress, os_progress(device, entry));
  if (progress == OsProgress::kNeedsMedium) {
    return Error(ErrorCode::kMediumGone, "the host OS is not complete: it needs the medium");
  }
  if (progress == OsProgress::kInstalled) {
    auto checked = check_and_prepare_reboot(device, entry);
    if (checked) {
      entry.phase = record::Phase::kRebooting;
      return checked;
    }
    base::log::warning("the host OS was not installed: " + checked.error().message());
    if (auto undone = undo_os(device, entry, stop); !undone) {
      return std::move(undone).error().as(ErrorCode::kRollbackFailed);
    }
    return std::move(checked).error().as(ErrorCode::kOsCheck);
  }
  auto settled = confirm_os(device, entry, stop);
  if (!settled && !has_gone_back(settled.error())) {
    return settled;
  }
  // The device was restarted before the boot files had been checked, so not all of them may be
  // those of the OS that stays, whichever that is: its own hooks put them in order.
  OU_CHECK(complete_boot_files(device, stop));
  OU_CHECK(std::move(settled));
  entry.phase = record::Phase::kConfirmingOs;
  return base::ok();
}

base::Result<bool> was_restarted(const Device& device, const JournalEntry& entry) {
  OU_TRY(const auto state, install::read_host_os(device.config.host_root));
  return state.boot_id != entry.os->boot_id;
}

base::Status restart_device(Device& device, const JournalEntry& entry,
                            const std::stop_token& stop) {
  OU_CHECK(wait_for_locks(device, entry, stop));
  if (entry.override_update_lock) {
    OU_CHECK(install::remove_update_locks(device.config.update_locks(), entry.app_id));
  }
  base::log::info("restarting into balenaOS " + entry.os->to_version);
  device.progress.phase("restarting", 0);
  OU_TRY(const auto before, device.services.report(install::kRebootUnit));
  if (before.state != UnitState::kRunning) {
    OU_CHECK(device.services.forget(install::kRebootUnit, kUnitTimeout));
    OU_CHECK(device.services.run(install::reboot_unit(on_host(device.config, os_log(device.config)),
                                                      device.config.reboot_timeout)));
  }
  if (device.waiter.wait(device.config.reboot_timeout, stop)) {
    return Error(ErrorCode::kReboot, "the device did not restart within " +
                                         std::to_string(device.config.reboot_timeout.count()) +
                                         " s of being asked to");
  }
  return Error(ErrorCode::kCancelled, "stopped: the device goes down");
}

base::Status confirm_os(Device& device, const JournalEntry& entry, const std::stop_token& stop) {
  device.progress.phase("waiting for the host OS to confirm itself", 0);
  int silent_looks = 0;
  for (;;) {
    const auto state = install::read_host_os(device.config.host_root);
    if (!state && ++silent_looks > kMaxSilentLooks) {
      return state.error();
    }
    if (state) {
      silent_looks = 0;
      switch (install::judge(*state, entry.os->to_version)) {
        case install::OsVerdict::kPending:
          break;
        case install::OsVerdict::kConfirmed:
          base::log::info("balenaOS " + entry.os->to_version + " is confirmed");
          return restore_what_was_lost(device);
        case install::OsVerdict::kReverted:
          OU_CHECK(restore_what_was_lost(device));
          return reverted(entry, *state);
      }
    }
    if (!device.waiter.wait(kPoll, stop)) {
      return Error(ErrorCode::kCancelled, "stopped while the host OS confirms itself");
    }
  }
}

}  // namespace agent
