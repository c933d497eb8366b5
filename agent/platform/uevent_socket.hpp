// The kernel's own announcements of devices that come, change and go.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace agent::platform {

/// That something happened to a disk or to one of its partitions.
struct BlockEvent {
  std::string disk;          // "sda", also when a partition is meant
  bool is_replaced = false;  // the disk went, or its medium was changed
};

/// The event in a message as the kernel sends it: "ACTION@DEVPATH", then NAME=VALUE, each ending in
/// a zero byte. Nothing when it is about no block device, or is no such message. \source
/// lib/kobject_uevent.c in the Linux sources
std::optional<BlockEvent> parse_uevent(std::string_view message);

/// The disk in a device path of /sys: "/devices/.../block/sda/sda1" gives "sda".
std::optional<std::string> disk_of_device_path(std::string_view path);

class UeventSocket {
 public:
  struct Received {
    std::vector<BlockEvent> events;
    bool lost = false;  // the kernel dropped some
  };

  /// \error ErrorCode::kPermission, kIo \source netlink(7): NETLINK_KOBJECT_UEVENT
  static base::Result<UeventSocket> open();

  /// What arrived; never blocks. After a bounded number of messages the rest waits for the next
  /// call. \error ErrorCode::kIo
  base::Result<Received> receive();

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit UeventSocket(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace agent::platform
