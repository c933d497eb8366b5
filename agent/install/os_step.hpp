// Installing a host OS into the other slot: by the OS's own programs, started on the host.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "install/host_os.hpp"
#include "install/service_manager.hpp"
#include "oci/digest.hpp"

namespace agent::install {

inline constexpr const char* kOsUnit = "offline-updater-os.service";
inline constexpr const char* kOsUndoUnit = "offline-updater-os-undo.service";
inline constexpr const char* kRebootUnit = "offline-updater-reboot.service";
/// Exit code of kOsUnit when another program holds balenaHUP's lock.
inline constexpr int kOsLockHeld = 75;
/// The lock that balenaHUP takes, on the host. \source balenaos.md section 7
inline constexpr const char* kHupLock = "/var/lock/resinhup.lock";

/// Runs hostapp-update with `reference` as the source, under balenaHUP's lock.
/// \param log as the host sees it
TransientUnit os_unit(const std::string& reference, const std::string& log,
                      std::chrono::seconds timeout);
/// Runs the running OS's hooks, which point the bootloader at it again and put its boot files back.
/// \source balenaos.md section 5, "Undo by hand"
TransientUnit os_undo_unit(const std::string& log, std::chrono::seconds timeout);
/// Restarts the device by the OS's own safe_reboot.
TransientUnit reboot_unit(const std::string& log, std::chrono::seconds timeout);

/// Whether somebody else holds balenaHUP's lock now. \error ErrorCode::kDeviceFacts
base::Result<bool> is_hup_locked(const std::filesystem::path& host_root);

/// That hostapp-update did what it has to: the slot holds `image`, the bootloader will start it
/// once (another root than `running_root`), and both rollback breadcrumbs are there. \error
/// ErrorCode::kOsCheck: what is not as it should be
base::Status check_installed_os(const std::filesystem::path& host_root, const oci::Digest& image,
                                const std::string& running_root);

/// That nothing of an update is left: the bootloader starts `running_root`, nothing waits for
/// confirmation. \error ErrorCode::kOsCheck
base::Status check_undone_os(const std::filesystem::path& host_root,
                             const std::string& running_root);

/// Removes what an earlier update left in /mnt/state to say that it was taken back, as the next
/// hostapp-update does anyway: from here on such a file means this update. \error
/// ErrorCode::kOsInstall
base::Status forget_earlier_rollback(const std::filesystem::path& host_root);

/// Tells rollback-health not to wait for a VPN: an uplink that is lost later must not take back a
/// good OS. \error ErrorCode::kOsInstall \source balenaos.md section 6
base::Status expect_no_vpn(const std::filesystem::path& host_root);

/// The last lines of a log, printable, for an error message; empty if there are none.
std::string log_tail(const std::filesystem::path& log);

}  // namespace agent::install
