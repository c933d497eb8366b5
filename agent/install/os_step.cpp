#include "install/os_step.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <array>
#include <cerrno>

#include "base/files.hpp"
#include "base/lines.hpp"
#include "base/printable.hpp"
#include "base/rooted_files.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxLogBytes = std::size_t{16} * 1024 * 1024;
constexpr std::size_t kTailBytes = 600;
constexpr std::size_t kMaxVariablesBytes = std::size_t{64} * 1024;
constexpr std::string_view kVpnVariable = "BALENAOS_ROLLBACK_VPNONLINE=";

/// The lock's descriptor goes on into hostapp-update and ends with it, whoever dies first.
constexpr const char* kOsScript =
    "exec 9>/var/lock/resinhup.lock; flock -n -x 9 || exit 75; exec hostapp-update -i \"$1\"";
constexpr const char* kUndoScript =
    "exec 9>/var/lock/resinhup.lock; flock -n -x 9 || exit 75; exec hostapp-update-hooks";

Error bad(const std::string& what) {
  return {ErrorCode::kOsCheck, what};
}

}  // namespace

TransientUnit os_unit(const std::string& reference, const std::string& log,
                      std::chrono::seconds timeout) {
  return {.name = kOsUnit,
          .description = "Installs the host OS of an offline update",
          .command = {"/bin/sh", "-c", kOsScript, "sh", reference},
          .environment = {},
          .output_file = log,
          .timeout = timeout};
}

TransientUnit os_undo_unit(const std::string& log, std::chrono::seconds timeout) {
  return {.name = kOsUndoUnit,
          .description = "Puts the boot files of the running host OS back",
          .command = {"/bin/sh", "-c", kUndoScript},
          .environment = {{"DURING_UPDATE", "0"}},
          .output_file = log,
          .timeout = timeout};
}

TransientUnit reboot_unit(const std::string& log, std::chrono::seconds timeout) {
  return {.name = kRebootUnit,
          .description = "Restarts the device into its new host OS",
          .command = {"/usr/libexec/safe_reboot"},
          .environment = {},
          .output_file = log,
          .timeout = timeout};
}

base::Result<bool> is_hup_locked(const std::filesystem::path& host_root) {
  const auto fd = base::open_in_root(host_root, kHupLock, O_RDONLY);
  if (!fd && fd.error().code() == ErrorCode::kNotFound) {
    return false;  // nobody has made it since the device was started
  }
  if (!fd) {
    return Error(fd.error()).as(ErrorCode::kDeviceFacts);
  }
  if (::flock(fd->get(), LOCK_SH | LOCK_NB) == 0) {
    return false;
  }
  if (errno != EWOULDBLOCK) {
    return Error::from_errno(errno, std::string("try the lock ") + kHupLock)
        .as(ErrorCode::kDeviceFacts);
  }
  return true;
}

base::Status check_installed_os(const std::filesystem::path& host_root, const oci::Digest& image,
                                const std::string& running_root) {
  OU_TRY(const auto present, inactive_image(host_root));
  if (!present || *present != image) {
    return bad("the other slot holds " + (present ? present->text() : "no complete host OS") +
               " instead of " + image.text());
  }
  OU_TRY(const auto state, read_host_os(host_root));
  if (!state.selector) {
    return bad("the boot partition has no file that selects a slot");
  }
  if (state.selector->root_part == running_root || !state.selector->upgrade_available) {
    return bad(state.selector->file.string() +
               " does not make the bootloader try the other slot once");
  }
  if (!state.unconfirmed) {
    return bad("the rollback breadcrumbs are missing: nobody would watch the new host OS");
  }
  return base::ok();
}

base::Status check_undone_os(const std::filesystem::path& host_root,
                             const std::string& running_root) {
  OU_TRY(const auto state, read_host_os(host_root));
  if (state.selector &&
      (state.selector->root_part != running_root || state.selector->upgrade_available)) {
    return bad(state.selector->file.string() + " still makes the bootloader try the other slot");
  }
  return state.unconfirmed ? base::Status(bad("rollback breadcrumbs are still there")) : base::ok();
}

base::Status forget_earlier_rollback(const std::filesystem::path& host_root) {
  for (const auto* name : {"rollback-health-triggered", "rollback-altboot-triggered"}) {
    if (auto removed = base::remove_file_durably(host_root / "mnt/state" / name); !removed) {
      return std::move(removed).error().as(ErrorCode::kOsInstall);
    }
  }
  return base::ok();
}

base::Status expect_no_vpn(const std::filesystem::path& host_root) {
  const auto file = host_root / "mnt/state/rollback-health-variables";
  std::string text;
  if (const auto bytes = base::read_file(file, kMaxVariablesBytes)) {
    for (std::string_view rest = base::as_text(*bytes); !rest.empty();) {
      const auto line = base::take_line(rest);
      if (!line.starts_with(kVpnVariable)) {
        text += std::string(line) + "\n";
      }
    }
  }
  text += std::string(kVpnVariable) + "0\n";
  if (auto written = base::write_file_durably(file, base::as_bytes(text), 0644); !written) {
    return std::move(written).error().as(ErrorCode::kOsInstall);
  }
  return base::ok();
}

std::string log_tail(const std::filesystem::path& log) {
  const auto bytes = base::read_file(log, kMaxLogBytes);
  if (!bytes) {
    return "";
  }
  auto text = base::as_text(*bytes);
  while (text.ends_with('\n')) {
    text.remove_suffix(1);
  }
  text.remove_prefix(text.size() > kTailBytes ? text.size() - kTailBytes : 0);
  std::string lines(text);
  for (auto& character : lines) {
    character = character == '\n' ? ' ' : character;
  }
  return base::printable(lines, kTailBytes);
}

}  // namespace agent::install
