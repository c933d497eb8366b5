// Finds the disks that something stands on: from a file, a mount or a device at the top of a stack
// of devices down to the hardware.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <set>
#include <string>

#include "base/mount_table.hpp"

namespace base {

class DiskCollector {
 public:
  /// \param sys where sysfs is mounted: "/sys"
  /// \param root the root that file names of the kernel (what is behind a loop device) begin at
  DiskCollector(std::filesystem::path sys, std::filesystem::path root)
      : sys_(std::move(sys)), root_(std::move(root)) {}

  /// The disk of a disk or partition, and all disks below it: through device mapper, RAID and loop
  /// devices, each layer being part of the result. Nothing for what is no block device.
  /// \source Documentation/ABI/stable/sysfs-block in the Linux sources: slaves, partition,
  ///   loop/backing_file
  void add_device(dev_t device);
  /// What holds the file or directory `path`, or what the device node `path` means.
  /// \return errno; 0 when it is there
  int add_file(const std::filesystem::path& path);
  /// "/dev/sda2": by that name.
  void add_source(const std::string& source);
  /// By number, or by the name of its source where the number says nothing (btrfs).
  void add_mount(const MountedFileSystem& mount);

  [[nodiscard]] const std::set<dev_t>& disks() const { return disks_; }

 private:
  void add_disk(const std::filesystem::path& path);

  std::filesystem::path sys_;
  std::filesystem::path root_;
  std::set<dev_t> seen_;
  std::set<dev_t> disks_;
};

}  // namespace base
