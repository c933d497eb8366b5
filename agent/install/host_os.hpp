// What the running host OS says of itself, of its last update and of its slots: read from its own
// files, as balenaos.md sections 2, 3 and 6 describe them. Changes nothing.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "oci/digest.hpp"

namespace agent::install {

/// Of an os-release file; empty where it has none.
struct OsIdentity {
  std::string version;       // VERSION: "6.6.0+rev1"
  std::string meta_version;  // META_BALENA_VERSION, else VERSION
  std::string device_type;   // SLUG
};
OsIdentity parse_os_identity(std::string_view os_release);

/// Which slot the bootloader starts next.
struct BootSelector {
  std::filesystem::path file;  // on the host
  std::string root_part;       // resin_root_part, in the notation of the bootloader's family
  bool upgrade_available = false;
};
/// \param text of grubenv, bootenv or resinOS_uEnv.txt
BootSelector parse_boot_selector(std::string_view text);

struct HostOsState {
  OsIdentity running;
  std::string boot_id;       // another one after each start of the kernel
  bool unconfirmed = false;  // the last update waits for rollback-health or rollback-altboot
  bool complete = false;     // the state partition is mounted; else absence says nothing
  std::string reverted_by;   // "rollback-health" or "rollback-altboot", when one took it back
  std::optional<BootSelector> selector;
};

/// \error ErrorCode::kDeviceFacts when os-release or the boot id cannot be read
base::Result<HostOsState> read_host_os(const std::filesystem::path& host_root);

/// Where boot files that must not be encrypted live: "/mnt/efi" and the like on an encrypted
/// system, else "/mnt/boot". \source balenaos.md section 2
std::filesystem::path unencrypted_boot(const std::filesystem::path& host_root);

/// How an update to `target` stands, seen from a later boot. A state that is not complete, or
/// without a selector, is pending: while a device goes down its partitions vanish first.
enum class OsVerdict {
  kPending,    // the OS is still making up its mind: nothing may be touched
  kConfirmed,  // it runs and has passed its checks
  kReverted,   // another version runs, and will stay
};
OsVerdict judge(const HostOsState& state, const std::string& target_version);

/// The image in the inactive slot that the slot's "current" link names; nothing when the slot has
/// none, or not a complete one. \error ErrorCode::kDeviceFacts when there is no such slot
base::Result<std::optional<oci::Digest>> inactive_image(const std::filesystem::path& host_root);

}  // namespace agent::install
