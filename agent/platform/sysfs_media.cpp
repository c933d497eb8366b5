#include "platform/sysfs_media.hpp"

#include <algorithm>
#include <climits>
#include <limits>
#include <string_view>

#include "base/printable.hpp"
#include "base/sysfs.hpp"

namespace agent::platform {
namespace {

namespace fs = std::filesystem;
using media::BlockDevice;
using media::DeviceKind;

constexpr std::uint64_t kSysfsSectorBytes = 512;
constexpr std::size_t kMaxSerialBytes = 64;

/// The disk or partition whose directory is `path`; nothing if it is going or empty.
std::optional<BlockDevice> block_device(const fs::path& path) {
  const auto device = base::sysfs_device(path);
  const auto sectors = base::sysfs_number(path / "size");
  if (!device || !sectors || *sectors == 0 ||
      *sectors > std::numeric_limits<std::uint64_t>::max() / kSysfsSectorBytes) {
    return std::nullopt;
  }
  return BlockDevice{path.filename().string(), *device, *sectors * kSysfsSectorBytes};
}

/// "usb3": the root of a USB bus.
bool is_usb_bus(std::string_view component) {
  return component.starts_with("usb") && component.size() > 3 &&
         component.find_first_not_of("0123456789", 3) == std::string_view::npos;
}

/// \param path the disk's directory below /sys/devices
DeviceKind kind_of(const fs::path& path) {
  if (std::any_of(path.begin(), path.end(),
                  [](const auto& component) { return is_usb_bus(component.native()); })) {
    return DeviceKind::kUsb;
  }
  const auto name = path.filename().string();
  if (name.starts_with("mmcblk") && base::sysfs_attribute(path / "device/type") == "SD") {
    return DeviceKind::kSd;
  }
  const bool is_virtual = path.parent_path().parent_path().filename() == "virtual";
  if (is_virtual && name.starts_with("loop") && base::sysfs_attribute(path / "loop/backing_file")) {
    return DeviceKind::kLoop;
  }
  return DeviceKind::kOther;
}

/// Of the card, or of the USB device that the disk hangs on; the file behind a loop device.
std::string serial_of(const fs::path& path, DeviceKind kind) {
  std::optional<std::string> serial;
  if (kind == DeviceKind::kSd) {
    serial = base::sysfs_attribute(path / "device/serial");
  }
  std::error_code error;
  for (auto up = path; kind == DeviceKind::kUsb && up != up.parent_path(); up = up.parent_path()) {
    if (fs::exists(up / "idVendor", error)) {
      serial = base::sysfs_attribute(up / "serial");
      break;
    }
  }
  if (kind == DeviceKind::kLoop) {
    return base::printable(base::sysfs_attribute(path / "loop/backing_file").value_or(""),
                           PATH_MAX);
  }
  return base::printable(serial.value_or(""), kMaxSerialBytes);
}

std::vector<BlockDevice> partitions_of(const fs::path& path) {
  std::vector<std::pair<std::uint64_t, BlockDevice>> found;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    const auto index = base::sysfs_number(entry->path() / "partition");
    const auto device = index ? block_device(entry->path()) : std::nullopt;
    if (device) {
      found.emplace_back(*index, *device);
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<BlockDevice> partitions;
  for (auto& [index, device] : found) {
    partitions.push_back(std::move(device));
  }
  return partitions;
}

bool is_same(const BlockDevice& a, const BlockDevice& b) {
  return a.name == b.name && a.number == b.number && a.size_bytes == b.size_bytes;
}

}  // namespace

bool PresentMedium::is_same_medium(const PresentMedium& other) const {
  return is_same(medium.disk, other.medium.disk) && sequence == other.sequence &&
         medium.kind == other.medium.kind && medium.serial == other.medium.serial;
}

bool PresentMedium::has_same_partitions(const PresentMedium& other) const {
  const auto& a = medium.partitions;
  const auto& b = other.medium.partitions;
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), is_same);
}

std::optional<PresentMedium> SysfsMedia::read(const std::string& name) const {
  std::error_code error;
  const auto path = fs::canonical(sys_ / "block" / name, error);
  if (error) {
    return std::nullopt;
  }
  auto disk = block_device(path);
  const auto kind = kind_of(path);
  if (!disk || kind == DeviceKind::kOther) {
    return std::nullopt;
  }
  return PresentMedium{.medium = {.disk = *std::move(disk),
                                  .kind = kind,
                                  .serial = serial_of(path, kind),
                                  .partitions = partitions_of(path)},
                       .sequence = base::sysfs_number(path / "diskseq")};
}

base::Result<std::vector<std::string>> SysfsMedia::disk_names() const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(sys_ / "block", error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) {
    return base::Error::from_errno(error.value(), "list " + (sys_ / "block").string());
  }
  return names;
}

}  // namespace agent::platform
