// Disks and their partitions as /sys describes them: what is there now, whatever events said.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "media/block_device.hpp"

namespace agent::platform {

/// A disk with a medium in it, and what tells this medium from another one in the same drive.
struct PresentMedium {
  media::Medium medium;
  /// The kernel's number of the medium, never given twice; nothing before Linux 5.15.
  std::optional<std::uint64_t> sequence;

  [[nodiscard]] bool is_same_medium(const PresentMedium& other) const;
  [[nodiscard]] bool has_same_partitions(const PresentMedium& other) const;
};

class SysfsMedia {
 public:
  /// \param sys where sysfs is mounted: "/sys"
  explicit SysfsMedia(std::filesystem::path sys) : sys_(std::move(sys)) {}

  /// The medium in the disk called `name`; nothing when there is no such disk, when it is empty,
  /// and when it is no kind that can be plugged in (DeviceKind::kOther). \source
  /// Documentation/ABI/stable/sysfs-block and testing/sysfs-block in the Linux sources;
  ///   drivers/mmc/core/bus.c for the type of a card
  [[nodiscard]] std::optional<PresentMedium> read(const std::string& name) const;

  /// The names of all disks, whatever their kind. \error ErrorCode::kIo
  [[nodiscard]] base::Result<std::vector<std::string>> disk_names() const;

 private:
  std::filesystem::path sys_;
};

}  // namespace agent::platform
