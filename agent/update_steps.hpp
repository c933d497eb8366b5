// The steps of an update that update_run.cpp puts in order. Each is safe to repeat.
#pragma once

#include <stop_token>
#include <vector>

#include "boot/confirm.hpp"
#include "install/apps_step.hpp"
#include "install/loopback_registry.hpp"
#include "install/paced_chunks.hpp"
#include "plan/install_plan.hpp"
#include "record/identity_backup.hpp"
#include "update_run.hpp"

namespace agent {

using ServiceImages = std::vector<install::ReleaseSwitch::ServiceImage>;

install::SupervisorAccess supervisor_access(Device& device);

/// Whether the step only ended because it was told to.
bool is_stop(const base::Status& status);

/// Update locks are waited for; the person or program that holds one may need a while. With the
/// policy to override them it returns at once.
/// \error ErrorCode::kUpdateLocked after config.wait_for_locks; kCancelled
base::Status wait_for_locks(Device& device, const record::JournalEntry& entry,
                            const std::stop_token& stop);

// The release (update_release.cpp)

base::Status switch_release(Device& device, const record::JournalEntry& entry,
                            const install::ReleaseSwitch& change, const std::stop_token& stop);
base::Status confirm_release(Device& device, const record::JournalEntry& entry,
                             const install::ReleaseSwitch& change, std::stop_token stop);
/// \return ok also when the old release does not come up: what the supervisor was told is right,
///   and it goes on trying; `why` then says so
base::Status revert_release(Device& device, const install::ReleaseSwitch& change, base::Error& why,
                            const std::stop_token& stop);
/// Sets the names of the release that runs and drops ours. Left-over names cost room, not
/// correctness: what fails is logged, and the next update tidies again.
void tidy_names(Device& device, const ServiceImages& running, const ServiceImages& other);

// The host OS (update_os.cpp)

/// Where the identity and its backups are.
record::BackupPlaces backup_places(const Config& config);

/// What the journal has to know of the OS before it is touched.
/// \error those of install::read_host_os()
base::Result<record::OsUpdate> describe_os_update(const Device& device, const bundle::HostOs& os);

/// Has hostapp-update fill the other slot from the registry, follows it, and checks what it left.
/// A unit of an earlier agent that still runs is followed, not started again. When it returns ok
/// the bootloader will start the new OS. \error ErrorCode::kOsInstall, kOsCheck, kUpdateInProgress,
/// kServiceManager; those of the
///   registry; kCancelled: the unit may still run
base::Status install_os(Device& device, record::JournalEntry& entry,
                        const install::LoopbackRegistry& registry,
                        const intake::MediumChunks& chunks, const bundle::Image& image,
                        const std::stop_token& stop);

/// Has the running OS put its own boot files in order. \error ErrorCode::kOsInstall,
///   kServiceManager, kCancelled
base::Status complete_boot_files(Device& device, const std::stop_token& stop);

/// Stops an installation, points the bootloader at the running OS again and puts its boot files
/// back. \error ErrorCode::kOsCheck, kServiceManager, kTimeout, kCancelled
base::Status undo_os(Device& device, const record::JournalEntry& entry,
                     const std::stop_token& stop);

/// Goes on after a start in the phase kInstallingOs. \return ok: `entry` names the next phase
/// \error ErrorCode::kMediumGone when it has to be done again; kOsCheck when what is there is not
///   what it should be, and was undone; kRollbackFailed; those of confirm_os()
base::Status take_up_os(Device& device, record::JournalEntry& entry, const std::stop_token& stop);

/// After a start in the phase kInstallingOs: what has become of it?
enum class OsProgress {
  kNeedsMedium,  // nothing yet, or a part: it has to be done again
  kInstalled,    // in this very boot: only the checks are missing
  kTakenOver,    // the device was restarted meanwhile, and the new OS runs or is being tried
};
base::Result<OsProgress> os_progress(Device& device, const record::JournalEntry& entry);

/// The checks after an installation, and what the OS's own program leaves to do.
base::Status check_and_prepare_reboot(Device& device, record::JournalEntry& entry);

/// Whether the device has been restarted since check_and_prepare_reboot().
base::Result<bool> was_restarted(const Device& device, const record::JournalEntry& entry);

/// Asks the OS to restart the device, and waits for it.
/// \return never ok: ErrorCode::kReboot when the device still runs after config.reboot_timeout;
///   kUpdateLocked; kCancelled
base::Status restart_device(Device& device, const record::JournalEntry& entry,
                            const std::stop_token& stop);

/// Waits until the OS has confirmed itself or gone back, then compares the identity.
/// \error ErrorCode::kOsReverted; kCancelled; kDeviceFacts
base::Status confirm_os(Device& device, const record::JournalEntry& entry,
                        const std::stop_token& stop);

// Supervisor and config.json (update_settings.cpp)

/// What the journal has to know to make the changes, and to take them back.
base::Result<record::SettingsChange> describe_settings(const Device& device,
                                                       const bundle::Manifest& manifest,
                                                       const plan::DeviceFacts& facts);
/// Switches the supervisor, and applies the keys that restart nothing.
/// \error ErrorCode::kConfigJson, kSupervisor*; kCancelled
base::Status change_settings(Device& device, record::JournalEntry& entry,
                             const std::stop_token& stop);
/// Applies the keys that restart the engine, and with it this agent: comes last.
base::Status finish_settings(Device& device, const record::JournalEntry& entry);
/// Puts back the supervisor that ran before, and its database, when the new one never answered.
/// \error ErrorCode::kSupervisor*, kServiceManager
base::Status undo_supervisor(Device& device, const record::JournalEntry& entry);
/// Undoes config.json and the connections that were replaced; those that were added stay. \error
/// ErrorCode::kConfigJson, kServiceManager
base::Status undo_boot_settings(Device& device, const record::JournalEntry& entry);

}  // namespace agent
