#include "platform/device_node.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <cerrno>

#include "base/files.hpp"

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;

Error gone(const media::BlockDevice& device, const std::string& how) {
  return {ErrorCode::kMediumGone, device.name + " " + how};
}

base::Status check_identity(int fd, const media::BlockDevice& device) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return Error::from_errno(errno, "stat " + device.name);
  }
  if (!S_ISBLK(status.st_mode) || status.st_rdev != device.number) {
    return Error(ErrorCode::kIo, "the node made for " + device.name + " is something else");
  }
  std::uint64_t size_bytes = 0;
  if (::ioctl(fd, BLKGETSIZE64, &size_bytes) != 0) {
    return Error::from_errno(errno, "size of " + device.name);
  }
  if (size_bytes != device.size_bytes) {
    return gone(device, "is not the medium that was seen: its size is another one");
  }
  return base::ok();
}

}  // namespace

bool is_medium_gone(int error_number, const media::BlockDevice& device) {
  switch (error_number) {
    case ENXIO:
    case ENOMEDIUM:
    case ESHUTDOWN:
      return true;
    case EIO:
    case ENODEV:  // mount(2) also says so of an unknown file system
    case ENOENT: {
      const auto size = base::read_file("/sys/dev/block/" + std::to_string(major(device.number)) +
                                            ":" + std::to_string(minor(device.number)) + "/size",
                                        64);
      return !size || base::as_text(*size) == "0\n";
    }
    default:
      return false;
  }
}

base::Result<DeviceNode> DeviceNode::make(const std::filesystem::path& directory,
                                          const media::BlockDevice& device) {
  static std::atomic<unsigned> count = 0;
  auto path = directory / ("node-" + std::to_string(count++) + "-" + device.name);
  const std::string hint = "; the agent's container needs privileged: true";
  if (::mknod(path.c_str(), S_IFBLK | 0600, device.number) != 0) {
    return Error::from_errno(errno,
                             "make a node for " + device.name + (errno == EPERM ? hint : ""));
  }
  DeviceNode node(std::move(path));
  node.fd_.reset(::open(node.path_.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!node.fd_.valid()) {
    const int error_number = errno;
    if (is_medium_gone(error_number, device)) {
      return gone(device, "is not there any more");
    }
    const bool is_forbidden = error_number == EPERM || error_number == EACCES;
    return Error::from_errno(error_number, "open " + device.name + (is_forbidden ? hint : ""));
  }
  OU_CHECK(check_identity(node.fd(), device));
  return node;
}

DeviceNode::DeviceNode(DeviceNode&& other) noexcept
    : path_(std::exchange(other.path_, {})), fd_(std::move(other.fd_)) {}

DeviceNode::~DeviceNode() {
  if (!path_.empty()) {
    ::unlink(path_.c_str());  // if it stays, the next start removes it
  }
}

base::Result<bool> DeviceNode::is_read_only() const {
  int read_only = 0;
  if (::ioctl(fd(), BLKROGET, &read_only) != 0) {
    return Error::from_errno(errno, "ask whether the device is read-only");
  }
  return read_only != 0;
}

base::Status DeviceNode::set_read_only(bool read_only) const {
  const int value = read_only ? 1 : 0;
  if (::ioctl(fd(), BLKROSET, &value) != 0) {
    return Error::from_errno(errno, "set whether the device is read-only");
  }
  return base::ok();
}

}  // namespace agent::platform
