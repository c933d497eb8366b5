// A block device opened by its number, through a node that nobody else can swap.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "media/block_device.hpp"

namespace agent::platform {

/// The node is removed with the object. As long as the descriptor is open the kernel gives the
/// number to no other device.
class DeviceNode {
 public:
  /// Makes a node in `directory`, opens it read-only, and checks that it is that device with that
  /// size.
  /// \error ErrorCode::kMediumGone when the device is not there or is another one by now;
  ///   kPermission when nodes may not be made or opened; kIo
  /// \source mknod(2), ioctl BLKGETSIZE64
  static base::Result<DeviceNode> make(const std::filesystem::path& directory,
                                       const media::BlockDevice& device);
  DeviceNode(DeviceNode&& other) noexcept;
  DeviceNode& operator=(DeviceNode&&) = delete;
  DeviceNode(const DeviceNode&) = delete;
  DeviceNode& operator=(const DeviceNode&) = delete;
  ~DeviceNode();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  /// Whether the kernel refuses every write to the device, also those of a file system that is
  /// mounted read-only. \error ErrorCode::kIo \source ioctl BLKROGET
  [[nodiscard]] base::Result<bool> is_read_only() const;
  /// \error ErrorCode::kIo \source ioctl BLKROSET
  [[nodiscard]] base::Status set_read_only(bool read_only) const;

 private:
  explicit DeviceNode(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
  base::UniqueFd fd_;
};

/// Whether a failed operation on a medium means that the medium is no longer there: errno says so,
/// or it may (an I/O error) and /sys has lost the device or its size.
bool is_medium_gone(int error_number, const media::BlockDevice& device);

}  // namespace agent::platform
