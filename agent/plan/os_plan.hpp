// Whether a device can take the host OS of a bundle. Pure.
#pragma once

#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "plan/device_facts.hpp"

namespace agent::plan {

/// The oldest balenaOS to update from: fatrw, overlay2, safe hooks. \source balenaos.md section 17
inline constexpr const char* kOldestSourceOs = "2.101.0";

/// What the host OS needs of its slot and of the boot partition.
struct OsRoom {
  std::uint64_t slot_bytes = 0;
  std::uint64_t slot_inodes = 0;
  std::uint64_t boot_bytes = 0;  // free on the boot partition before the update
};
/// \pre manifest.os
OsRoom os_room(const bundle::Manifest& manifest, const OsFacts& facts);

/// Whether the host OS of the bundle is another one than the one that runs.
/// \pre manifest.os and facts.os
bool needs_os(const bundle::Manifest& manifest, const DeviceFacts& facts);

/// Everything that hostapp-update does not check itself before it wipes a slot. A device that runs
/// this OS already passes. \pre manifest.os
/// \error ErrorCode::kOsUnsupported, kWrongDeviceType, kOsUnconfirmed, kUpdateInProgress,
///   kOsDowngrade, kOsVersion, kSecureBoot, kOsSlotTooSmall, kBootPartitionFull
base::Status check_os(const bundle::Manifest& manifest, const DeviceFacts& facts);

/// Neither an OS that may yet go back nor one that is being written: what changes settings of the
/// host then is changed on the wrong OS, or undone by its hooks.
/// \error ErrorCode::kOsUnconfirmed, kUpdateInProgress
base::Status check_settled(const OsState& state);

/// Never an older supervisor on a database that a newer one has written.
/// \pre manifest.supervisor \error ErrorCode::kSupervisorDowngrade, kSupervisorVersion
base::Status check_supervisor(const bundle::Manifest& manifest, const DeviceFacts& facts);

}  // namespace agent::plan
