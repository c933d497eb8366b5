#include "install/host_os.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <climits>

#include "base/json.hpp"
#include "base/lines.hpp"
#include "base/rooted_files.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxTextBytes = std::size_t{64} * 1024;
constexpr std::size_t kMaxContainerBytes = std::size_t{4} * 1024 * 1024;
constexpr const char* kSlot = "/mnt/sysroot/inactive";

/// The value of the first line KEY=VALUE, without quotes.
std::string value_of(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    auto line = base::take_line(text);
    if (!line.starts_with(key) || line.substr(key.size(), 1) != "=") {
      continue;
    }
    line.remove_prefix(key.size() + 1);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.size() >= 2 && line.front() == '"' && line.back() == '"') {
      line = line.substr(1, line.size() - 2);
    }
    return std::string(line);
  }
  return "";
}

base::Result<std::string> read_text(const std::filesystem::path& host_root,
                                    const std::filesystem::path& path) {
  auto bytes = base::read_file_in_root(host_root, path, kMaxTextBytes);
  if (!bytes) {
    return std::move(bytes).error().as(ErrorCode::kDeviceFacts);
  }
  return std::string(base::as_text(*bytes));
}

std::optional<BootSelector> read_selector(const std::filesystem::path& host_root) {
  // The order in which the OS's own rollback code looks (balenaos.md section 3).
  const auto boot = unencrypted_boot(host_root);
  for (const auto* name : {"resinOS_uEnv.txt", "bootenv", "EFI/BOOT/grubenv", "grub/grubenv"}) {
    if (const auto text = base::read_file_in_root(host_root, boot / name, kMaxTextBytes)) {
      auto selector = parse_boot_selector(base::as_text(*text));
      selector.file = boot / name;
      return selector;
    }
  }
  return std::nullopt;
}

base::Result<std::string> read_link(const std::filesystem::path& host_root,
                                    const std::filesystem::path& path) {
  OU_TRY(const auto fd, base::open_in_root(host_root, path, O_PATH | O_NOFOLLOW));
  std::array<char, PATH_MAX> target{};
  const auto length = ::readlinkat(fd.get(), "", target.data(), target.size());
  if (length < 0) {
    return Error::from_errno(errno, "read the link " + path.string());
  }
  return std::string(target.data(), static_cast<std::size_t>(length));
}

}  // namespace

OsIdentity parse_os_identity(std::string_view os_release) {
  OsIdentity identity{.version = value_of(os_release, "VERSION"),
                      .meta_version = value_of(os_release, "META_BALENA_VERSION"),
                      .device_type = value_of(os_release, "SLUG")};
  if (identity.version.empty()) {
    identity.version = value_of(os_release, "VERSION_ID");
  }
  if (identity.meta_version.empty()) {
    identity.meta_version = identity.version;
  }
  return identity;
}

BootSelector parse_boot_selector(std::string_view text) {
  return {.file = {},
          .root_part = value_of(text, "resin_root_part"),
          .upgrade_available = value_of(text, "upgrade_available") == "1"};
}

std::filesystem::path unencrypted_boot(const std::filesystem::path& host_root) {
  for (const auto* candidate : {"/mnt/efi", "/mnt/rpi", "/mnt/imx"}) {
    const std::filesystem::path path(candidate);
    for (const auto* name : {"resinOS_uEnv.txt", "bootenv", "EFI/BOOT/grubenv", "EFI/BOOT"}) {
      if (base::exists_in_root(host_root, path / name)) {
        return path;
      }
    }
  }
  return "/mnt/boot";
}

base::Result<HostOsState> read_host_os(const std::filesystem::path& host_root) {
  HostOsState state;
  OU_TRY(const auto os_release, read_text(host_root, "/etc/os-release"));
  state.running = parse_os_identity(os_release);
  OU_TRY(const auto boot_id, read_text(host_root, "/proc/sys/kernel/random/boot_id"));
  state.boot_id = boot_id.substr(0, boot_id.find('\n'));
  // Made before any OS is touched, with the backup of the identity.
  state.complete = base::exists_in_root(host_root, "/mnt/state/offline-updater");
  const auto has = [&](const char* name) {
    return base::exists_in_root(host_root, std::filesystem::path("/mnt/state") / name);
  };
  state.unconfirmed = has("rollback-health-breadcrumb") || has("rollback-altboot-breadcrumb");
  if (has("rollback-health-triggered")) {
    state.reverted_by = "rollback-health";
  } else if (has("rollback-altboot-triggered")) {
    state.reverted_by = "rollback-altboot";
  }
  state.selector = read_selector(host_root);
  return state;
}

OsVerdict judge(const HostOsState& state, const std::string& target_version) {
  if (state.unconfirmed || !state.complete || !state.selector) {
    return OsVerdict::kPending;
  }
  if (state.running.version != target_version) {
    return OsVerdict::kReverted;
  }
  // rollback-health says that it goes back, and removes the breadcrumbs, before it restarts the
  // device: for these seconds the new OS still runs.
  const bool going_back =
      !state.reverted_by.empty() || (state.selector && state.selector->upgrade_available);
  return going_back ? OsVerdict::kPending : OsVerdict::kConfirmed;
}

base::Result<std::optional<oci::Digest>> inactive_image(const std::filesystem::path& host_root) {
  const std::filesystem::path slot(kSlot);
  if (!base::exists_in_root(host_root, slot / "balena")) {
    return Error(ErrorCode::kDeviceFacts, std::string("the host has no second slot at ") + kSlot);
  }
  const auto current = read_link(host_root, slot / "current");
  if (!current) {
    return std::optional<oci::Digest>();
  }
  const auto container = std::filesystem::path(*current).filename();
  const auto bytes = base::read_file_in_root(
      host_root, slot / "balena/containers" / container / "config.v2.json", kMaxContainerBytes);
  // What bootloaders load the kernel from: a link to the hostapp's volume.
  if (!bytes || !base::exists_in_root(host_root, slot / "boot/")) {
    return std::optional<oci::Digest>();
  }
  const auto json = base::Json::parse(base::as_text(*bytes), nullptr, false);
  if (!json.is_object() || !json.value("Image", base::Json()).is_string()) {
    return std::optional<oci::Digest>();
  }
  const auto image = oci::Digest::parse(json["Image"].get<std::string>());
  return image ? std::optional(*image) : std::optional<oci::Digest>();
}

}  // namespace agent::install
