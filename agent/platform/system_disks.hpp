// The disks that the running system stands on: never media.
#pragma once

#include <filesystem>
#include <set>
#include <vector>

#include "base/result.hpp"

namespace agent::platform {

struct SystemPaths {
  std::filesystem::path host_root;  // the host's root as seen from here: /proc/1/root
  std::vector<std::filesystem::path>
      paths;                         // on the host, absolute; one that is missing is skipped
  std::filesystem::path own_mounts;  // what is mounted at or below it does not count
};

/// The paths that matter on balenaOS: /, /mnt/boot, /mnt/state, /mnt/data, /mnt/sysroot/active.
std::vector<std::filesystem::path> balena_system_paths();

/// The numbers of the disks below these paths, below / as this process sees it, and below
/// everything that is mounted on the host: through partitions, device mapper, RAID and loop devices
/// down to the hardware, each layer being part of the result. \error ErrorCode::kIo when none is
/// found at all: then no disk can be called safe; kPermission \source
/// Documentation/ABI/stable/sysfs-block in the Linux sources: slaves, partition,
///   loop/backing_file; proc(5)
base::Result<std::set<dev_t>> find_system_disks(const SystemPaths& system);

}  // namespace agent::platform
