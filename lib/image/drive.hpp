// The drives of this computer: what they are, and whether anything uses them. From sysfs and the
// mount table, so that nobody has to be root to look.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace image {

enum class Bus { kUsb, kMmc, kNvme, kAta, kScsi, kVirtio, kVirtual, kOther };

/// "usb", "mmc", "nvme", "ata", "scsi", "virtio", "virtual" or "other".
std::string_view name_of(Bus bus);

struct DrivePartition {
  std::string name;  // "sdb1"
  std::uint64_t size_bytes = 0;
  std::string label;        // of the file system; hostile; empty when it cannot be read
  std::string file_system;  // "vfat", "ext4"; likewise
};

/// Something that a drive, or a partition of it, is in use for.
struct DriveUse {
  std::string what;          // "mounted at /media/stick", "swap", "part of dm-0 (vg-root)"
  bool system = false;       // the running system needs it
  std::string mount_target;  // empty if it is not mounted
};

struct Drive {
  std::string name;  // "sdb"
  dev_t number = 0;
  std::uint64_t size_bytes = 0;  // 0: no medium in it
  Bus bus = Bus::kOther;
  std::string vendor;  // these three are hostile; empty when there is none
  std::string model;
  std::string serial;
  bool removable = false;  // the medium can be taken out, or the drive plugged in and out
  bool read_only = false;
  std::vector<DrivePartition> partitions;
  std::vector<DriveUse> uses;

  [[nodiscard]] std::string device() const { return "/dev/" + name; }
  /// Vendor and model, fit to be shown.
  [[nodiscard]] std::string description() const;
  [[nodiscard]] bool holds_system() const;
};

/// Where a computer describes itself.
struct DriveSources {
  std::filesystem::path sys = "/sys";
  std::filesystem::path dev = "/dev";
  std::filesystem::path proc = "/proc";
};

/// All disks with a medium in them, by name, without their partitions; without optical drives and
/// the special areas of eMMC. Virtual ones (loop, device mapper, RAID, RAM) are there, too.
/// \error ErrorCode::kIo, kPermission when sysfs or the mount table cannot be read: then no drive
///   can be called unused
/// \source Documentation/ABI/stable/sysfs-block and testing/sysfs-block in the Linux sources;
///   proc(5): mountinfo, swaps
base::Result<std::vector<Drive>> list_drives(const DriveSources& sources = {});

/// Why nothing may be written to `drive`; nothing when something may.
/// \param allow_fixed also one that is not removable; never one that is in use
std::optional<std::string> refusal_of(const Drive& drive, bool allow_fixed);

/// The drive that the device node `path` means, which may be reached by symbolic links.
/// \error ErrorCode::kDriveRefused when it is none: a file, a partition, an optical drive;
/// kNotFound,
///   as list_drives()
base::Result<Drive> find_drive(const std::filesystem::path& path, const DriveSources& sources = {});

}  // namespace image
