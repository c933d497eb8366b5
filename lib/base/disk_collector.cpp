#include "base/disk_collector.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "base/sysfs.hpp"

namespace base {
namespace {

namespace fs = std::filesystem;

}  // namespace

void DiskCollector::add_device(dev_t device) {
  if (major(device) == 0 || !seen_.insert(device).second) {
    return;  // on no block device, or known: a ring is not followed either
  }
  const auto path = sysfs_block_directory(sys_, device);
  if (!path) {
    return;
  }
  std::error_code error;
  add_disk(fs::exists(*path / "partition", error) ? path->parent_path() : *path);
}

int DiskCollector::add_file(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return errno;
  }
  add_device(S_ISBLK(status.st_mode) ? status.st_rdev : status.st_dev);
  return 0;
}

void DiskCollector::add_source(const std::string& source) {
  if (!source.starts_with("/dev/")) {
    return;
  }
  if (const auto number = sysfs_device(sys_ / "class/block" / fs::path(source).filename())) {
    add_device(*number);
  } else {
    static_cast<void>(add_file(root_ / fs::path(source).relative_path()));
  }
}

void DiskCollector::add_mount(const MountedFileSystem& mount) {
  if (major(mount.device) == 0) {
    add_source(mount.source);
  } else {
    add_device(mount.device);
  }
}

void DiskCollector::add_disk(const fs::path& path) {
  const auto number = sysfs_device(path);
  if (!number || !disks_.insert(*number).second) {
    return;
  }
  std::error_code error;
  for (fs::directory_iterator slave(path / "slaves", error), end; !error && slave != end;
       slave.increment(error)) {
    if (const auto below = sysfs_device(slave->path())) {
      add_device(*below);
    }
  }
  if (const auto backing = sysfs_attribute(path / "loop/backing_file")) {
    static_cast<void>(add_file(root_ / fs::path(*backing).relative_path()));
  }
}

}  // namespace base
