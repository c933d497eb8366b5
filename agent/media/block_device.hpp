// Block devices as the kernel describes them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace agent::media {

enum class DeviceKind { kUsb, kSd, kLoop, kOther };

/// "usb", "sd", "loop", "other".
std::string_view name_of(DeviceKind kind);

/// A disk, or a partition of one.
struct BlockDevice {
  std::string name;  // "sda", "mmcblk1p1"
  dev_t number = 0;
  std::uint64_t size_bytes = 0;
};

/// A whole medium: a disk with its partitions, in their order (none: a bare file system).
struct Medium {
  BlockDevice disk;
  DeviceKind kind = DeviceKind::kOther;
  std::string serial;  // of the device, if it has one; of a loop device its file; printable
  std::vector<BlockDevice> partitions;
};

struct MediaEvent {
  enum class Kind { kAppeared, kGone };
  Kind kind;
  Medium medium;  // kGone: disk.name and disk.number only
};

}  // namespace agent::media
