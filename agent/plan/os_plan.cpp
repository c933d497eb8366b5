#include "plan/os_plan.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "base/sizes.hpp"
#include "plan/compatibility.hpp"
#include "plan/room.hpp"

namespace agent::plan {
namespace {

using base::Error;
using base::ErrorCode;

// The slot's own directories and links.
constexpr std::uint64_t kSlotInodes = 64;
// Index blocks and fragmentation: the reference names five percent.
constexpr std::uint64_t kSlotReserveDivisor = 20;
// The OS's own hook refuses to leave less. \source balenaos.md section 5, 1-bootfiles
constexpr std::uint64_t kBootReserveBytes = 524'288;

/// Boot files that the OS's hook leaves as they are. \source balenaos.md section 5
constexpr std::array<std::string_view, 7> kKeptBootFiles{
    "config.json",   "config.txt", "splash/balena-logo.png", "extra_uEnv.txt", "configfs.json",
    "hw_intfc.conf", "bootenv"};

std::uint64_t boot_need(const bundle::HostOs& os, const OsFacts& facts) {
  const auto block = std::max<std::uint64_t>(facts.boot_block_bytes, 1);
  std::uint64_t added = 0;
  std::uint64_t removed = 0;
  std::uint64_t largest = 0;
  std::set<std::string> new_directories;
  for (const auto& [path, size] : os.boot_files) {
    if (std::find(kKeptBootFiles.begin(), kKeptBootFiles.end(), path) != kKeptBootFiles.end()) {
      continue;
    }
    const auto present = facts.boot_files.find(path);
    added += base::in_blocks(size, block);
    largest = std::max(largest, base::in_blocks(size, block));
    if (present != facts.boot_files.end()) {
      removed += base::in_blocks(present->second, block);
      continue;
    }
    for (auto slash = path.rfind('/'); slash != std::string::npos && slash > 0;
         slash = path.rfind('/', slash - 1)) {
      new_directories.insert(path.substr(0, slash));
    }
  }
  added += new_directories.size() * block;
  // fatrw holds two more copies of the file that it writes; without that room the OS would fall
  // back to writing in place, where a power cut leaves half a file.
  return (added > removed ? added - removed : 0) + 2 * largest + kBootReserveBytes;
}

base::Status check_state(const OsFacts& os) {
  const auto age = compare_versions(os.meta_version, kOldestSourceOs);
  if (!age || *age < 0) {
    return Error(ErrorCode::kOsUnsupported, "this device runs balenaOS " + os.meta_version +
                                                "; updates of the host OS need " + kOldestSourceOs +
                                                " or newer");
  }
  if (!os.missing_tools.empty()) {
    return Error(ErrorCode::kOsUnsupported, "this host OS has no " + os.missing_tools.front() +
                                                ", which the update relies on");
  }
  if (os.old_storage) {
    return Error(ErrorCode::kOsUnsupported,
                 "the running slot uses the storage driver aufs, which new versions cannot read");
  }
  if (os.one_slot) {
    return Error(ErrorCode::kOsUnsupported,
                 "/mnt/sysroot/inactive is the slot that runs: a second file system with its UUID "
                 "or label, as on a cloned disk, has to go first");
  }
  if (os.other_disk) {
    return Error(
        ErrorCode::kOsUnsupported,
        "/mnt/sysroot/inactive is on another disk than the slot that runs: a cloned system "
        "disk is plugged in; remove it and restart the device");
  }
  return base::ok();
}

base::Status check_versions(const bundle::Manifest& manifest, const OsFacts& facts) {
  const auto& os = *manifest.os;
  const auto order = compare_versions(os.version, facts.version);
  if (!order) {
    return Error(ErrorCode::kOsVersion, "cannot compare the host OS version " + os.version +
                                            " of the bundle with " + facts.version +
                                            " of this device");
  }
  if (*order < 0 && !manifest.policy.allow_os_downgrade) {
    return Error(ErrorCode::kOsDowngrade, "the bundle has balenaOS " + os.version +
                                              ", this device runs the newer " + facts.version);
  }
  return base::ok();
}

base::Status check_room(const bundle::Manifest& manifest, const OsFacts& facts) {
  const auto room = os_room(manifest, facts);
  if (room.slot_bytes > facts.slot_bytes) {
    return Error(ErrorCode::kOsSlotTooSmall, "balenaOS " + manifest.os->version +
                                                 " needs a slot of " + megabytes(room.slot_bytes) +
                                                 "; this device's has " +
                                                 megabytes(facts.slot_bytes));
  }
  if (room.slot_inodes > facts.slot_inodes) {
    return Error(ErrorCode::kOsSlotTooSmall,
                 "balenaOS " + manifest.os->version + " has " + std::to_string(room.slot_inodes) +
                     " files; this device's slot holds " + std::to_string(facts.slot_inodes));
  }
  if (room.boot_bytes > facts.boot_free_bytes) {
    return Error(ErrorCode::kBootPartitionFull,
                 "the boot files need " + megabytes(room.boot_bytes) +
                     " free on the boot partition, " + megabytes(facts.boot_free_bytes) + " are");
  }
  return base::ok();
}

}  // namespace

OsRoom os_room(const bundle::Manifest& manifest, const OsFacts& facts) {
  const auto& os = *manifest.os;
  OsRoom room{.slot_bytes = os.boot_volume_bytes + image_room().bytes,
              .slot_inodes = kSlotInodes + image_room().inodes,
              .boot_bytes = boot_need(os, facts)};
  if (const auto* image = manifest.find_image(os.image)) {
    for (const auto& layer : image->layers) {
      const auto needed = layer_room(layer);
      room.slot_bytes += needed.bytes;
      room.slot_inodes += needed.inodes;
    }
  }
  room.slot_bytes += room.slot_bytes / kSlotReserveDivisor;
  return room;
}

bool needs_os(const bundle::Manifest& manifest, const DeviceFacts& facts) {
  return manifest.os->version != facts.os->version;
}

base::Status check_os(const bundle::Manifest& manifest, const DeviceFacts& facts) {
  const auto& os = *manifest.os;
  if (!facts.os) {
    return Error(ErrorCode::kOsUnsupported,
                 "this device is not known to run balenaOS with two "
                 "slots: " +
                     facts.os_unknown);
  }
  const auto& host = *facts.os;
  const bool same = os.device_type == facts.device_type &&
                    (host.device_type.empty() || host.device_type == os.device_type);
  if (!same) {
    return Error(ErrorCode::kWrongDeviceType,
                 "the host OS is for " + os.device_type + "; this device is a " +
                     facts.device_type + " with a host OS for " +
                     (host.device_type.empty() ? "it" : host.device_type));
  }
  if (!needs_os(manifest, facts)) {
    return base::ok();
  }
  OU_CHECK(check_state(host));
  OU_CHECK(check_settled(facts.os_state));
  OU_CHECK(check_versions(manifest, host));
  if (host.secure_boot && !os.signed_for_secure_boot) {
    return Error(ErrorCode::kSecureBoot,
                 "secure boot is on, and this image of the host OS is not signed for it");
  }
  return check_room(manifest, host);
}

base::Status check_settled(const OsState& state) {
  if (state.unconfirmed) {
    return Error(ErrorCode::kOsUnconfirmed,
                 "the host OS has not yet confirmed its last update, and may still go back");
  }
  if (state.other_update) {
    return Error(ErrorCode::kUpdateInProgress, "another program is updating the host OS now");
  }
  return base::ok();
}

base::Status check_supervisor(const bundle::Manifest& manifest, const DeviceFacts& facts) {
  const auto order = compare_versions(manifest.supervisor->version, facts.supervisor_version);
  if (!order) {
    return Error(ErrorCode::kSupervisorVersion,
                 "cannot tell whether supervisor " + manifest.supervisor->version +
                     " is newer than the one of this device (\"" + facts.supervisor_version +
                     "\"): an older one could not read its database");
  }
  if (*order < 0) {
    return Error(ErrorCode::kSupervisorDowngrade,
                 "the bundle has supervisor " + manifest.supervisor->version +
                     ", this device runs the newer " + facts.supervisor_version);
  }
  return base::ok();
}

}  // namespace agent::plan
