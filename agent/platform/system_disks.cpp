#include "platform/system_disks.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <optional>
#include <string>

#include "base/files.hpp"
#include "platform/mount_table.hpp"

namespace agent::platform {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

constexpr std::uint64_t kMaxAttributeBytes = 8192;

std::optional<std::string> attribute(const fs::path& path) {
  const auto bytes = base::read_file(path, kMaxAttributeBytes);
  if (!bytes) {
    return std::nullopt;
  }
  std::string text(base::as_text(*bytes));
  return text.substr(0, text.find('\n'));
}

std::optional<dev_t> number_at(const fs::path& sysfs_directory) {
  unsigned major_number = 0;
  unsigned minor_number = 0;
  const auto text = attribute(sysfs_directory / "dev").value_or("");
  if (std::sscanf(text.c_str(), "%u:%u", &major_number, &minor_number) != 2) {
    return std::nullopt;
  }
  return makedev(major_number, minor_number);
}

/// Collects disks from the top of a stack of devices to its bottom.
class DiskCollector {
 public:
  explicit DiskCollector(fs::path host_root) : host_root_(std::move(host_root)) {}

  void add_device(dev_t device) {
    if (major(device) == 0 || !seen_.insert(device).second) {
      return;  // on no block device, or known: a ring is not followed either
    }
    std::error_code error;
    auto path = fs::canonical(
        "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device)),
        error);
    if (error) {
      return;
    }
    if (fs::exists(path / "partition", error)) {
      path = path.parent_path();
    }
    add_disk(path);
  }

  /// What holds the file or directory `path`. \return errno, 0 when it is there
  int add_file(const fs::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
      return errno;
    }
    add_device(S_ISBLK(status.st_mode) ? status.st_rdev : status.st_dev);
    return 0;
  }

  /// A mount whose device number says nothing (btrfs): by the name of its source.
  void add_source(const std::string& source) {
    if (!source.starts_with("/dev/")) {
      return;
    }
    if (const auto number = number_at(fs::path("/sys/class/block") / fs::path(source).filename())) {
      add_device(*number);
    } else {
      static_cast<void>(add_file(host_root_ / fs::path(source).relative_path()));
    }
  }

  [[nodiscard]] const std::set<dev_t>& disks() const { return disks_; }

 private:
  void add_disk(const fs::path& path) {
    const auto number = number_at(path);
    if (!number || !disks_.insert(*number).second) {
      return;
    }
    std::error_code error;
    for (fs::directory_iterator slave(path / "slaves", error), end; !error && slave != end;
         slave.increment(error)) {
      if (const auto below = number_at(slave->path())) {
        add_device(*below);
      }
    }
    if (const auto backing = attribute(path / "loop/backing_file")) {
      static_cast<void>(add_file(host_root_ / fs::path(*backing).relative_path()));
    }
  }

  fs::path host_root_;
  std::set<dev_t> seen_;
  std::set<dev_t> disks_;
};

/// Mounts of the host, or else of the first process that is seen from here.
base::Status add_mounts(const SystemPaths& system, DiskCollector& collector) {
  auto table = read_mount_table(system.host_root / "proc/1/mountinfo");
  if (!table) {
    table = read_mount_table("/proc/1/mountinfo");
  }
  if (!table) {
    return table.error().code() == ErrorCode::kNotFound ? base::ok()
                                                        : base::Status(std::move(table).error());
  }
  for (const auto& mount : *table) {
    if (is_at_or_below(mount.target, system.own_mounts)) {
      continue;
    }
    if (major(mount.device) == 0) {
      collector.add_source(mount.source);
    } else {
      collector.add_device(mount.device);
    }
  }
  return base::ok();
}

}  // namespace

std::vector<fs::path> balena_system_paths() {
  return {"/", "/mnt/boot", "/mnt/state", "/mnt/data", "/mnt/sysroot/active"};
}

base::Result<std::set<dev_t>> find_system_disks(const SystemPaths& system) {
  DiskCollector collector(system.host_root);
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
