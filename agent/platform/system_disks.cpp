#include "platform/system_disks.hpp"

#include <cerrno>

#include "base/disk_collector.hpp"
#include "base/mount_table.hpp"

namespace agent::platform {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

/// Mounts of the host, or else of the first process that is seen from here.
base::Status add_mounts(const SystemPaths& system, base::DiskCollector& collector) {
  auto table = base::read_mount_table(system.host_root / "proc/1/mountinfo");
  if (!table) {
    table = base::read_mount_table("/proc/1/mountinfo");
  }
  if (!table) {
    return table.error().code() == ErrorCode::kNotFound ? base::ok()
                                                        : base::Status(std::move(table).error());
  }
  for (const auto& mount : *table) {
    if (!base::is_at_or_below(mount.target, system.own_mounts)) {
      collector.add_mount(mount);
    }
  }
  return base::ok();
}

}  // namespace

std::vector<fs::path> balena_system_paths() {
  return {"/", "/mnt/boot", "/mnt/state", "/mnt/data", "/mnt/sysroot/active"};
}

base::Result<std::set<dev_t>> find_system_disks(const SystemPaths& system) {
  base::DiskCollector collector("/sys", system.host_root);
  static_cast<void>(collector.add_file("/"));
  for (const auto& path : system.paths) {
    const auto here = system.host_root / path.relative_path();
    const int error_number = collector.add_file(here);
    if (error_number != 0 && error_number != ENOENT && error_number != ENOTDIR) {
      return Error::from_errno(error_number, "find the disk of " + here.string());
    }
  }
  OU_CHECK(add_mounts(system, collector).within("find the disks that are mounted"));
  if (collector.disks().empty()) {
    return Error(ErrorCode::kIo,
                 "none of the disks that this system stands on can be found, so none can be told "
                 "from a medium; run the agent with pid: host and set OFFLINE_UPDATER_HOST_ROOT");
  }
  return collector.disks();
}

}  // namespace agent::platform
