#include "platform/sysfs_media.hpp"

#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <limits>
#include <string_view>

#include "base/files.hpp"
#include "base/printable.hpp"

namespace agent::platform {
namespace {

namespace fs = std::filesystem;
using media::BlockDevice;
using media::DeviceKind;

constexpr std::uint64_t kSysfsSectorBytes = 512;
constexpr std::uint64_t kMaxAttributeBytes = 4096;
constexpr std::size_t kMaxSerialBytes = 64;

/// An attribute without the line break at its end; nothing if it is not there (any more).
std::optional<std::string> attribute(const fs::path& path) {
  const auto bytes = base::read_file(path, kMaxAttributeBytes);
  if (!bytes) {
    return std::nullopt;
  }
  std::string text(base::as_text(*bytes));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
    text.pop_back();
  }
  return text;
}

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

template <typename Number>
std::optional<Number> number_in(const fs::path& path) {
  const auto text = attribute(path);
  return text ? number<Number>(*text) : std::nullopt;
}

std::optional<dev_t> device_number(const fs::path& path) {
  const auto text = attribute(path);
  const auto colon = text ? text->find(':') : std::string::npos;
  if (colon == std::string::npos) {
    return std::nullopt;
  }
  const auto major_number = number<unsigned>(std::string_view(*text).substr(0, colon));
  const auto minor_number = number<unsigned>(std::string_view(*text).substr(colon + 1));
  if (!major_number || !minor_number) {
    return std::nullopt;
  }
  return makedev(*major_number, *minor_number);
}

/// The disk or partition whose directory is `path`; nothing if it is going or empty.
std::optional<BlockDevice> block_device(const fs::path& path) {
  const auto device = device_number(path / "dev");
  const auto sectors = number_in<std::uint64_t>(path / "size");
  if (!device || !sectors || *sectors == 0 ||
      *sectors > std::numeric_limits<std::uint64_t>::max() / kSysfsSectorBytes) {
    return std::nullopt;
  }
  return BlockDevice{path.filename().string(), *device, *sectors * kSysfsSectorBytes};
}

/// "usb3": the root of a USB bus.
bool is_usb_bus(std::string_view component) {
  return component.starts_with("usb") && number<unsigned>(component.substr(3)).has_value();
}

/// \param path the disk's directory below /sys/devices
DeviceKind kind_of(const fs::path& path) {
  if (std::any_of(path.begin(), path.end(),
                  [](const auto& component) { return is_usb_bus(component.native()); })) {
    return DeviceKind::kUsb;
  }
  const auto name = path.filename().string();
  if (name.starts_with("mmcblk") && attribute(path / "device/type") == "SD") {
    return DeviceKind::kSd;
  }
  const bool is_virtual = path.parent_path().parent_path().filename() == "virtual";
  if (is_virtual && name.starts_with("loop") && attribute(path / "loop/backing_file")) {
    return DeviceKind::kLoop;
  }
  return DeviceKind::kOther;
}

/// Of the card, or of the USB device that the disk hangs on; the file behind a loop device.
std::string serial_of(const fs::path& path, DeviceKind kind) {
  std::optional<std::string> serial;
  if (kind == DeviceKind::kSd) {
    serial = attribute(path / "device/serial");
  }
  std::error_code error;
  for (auto up = path; kind == DeviceKind::kUsb && up != up.parent_path(); up = up.parent_path()) {
    if (fs::exists(up / "idVendor", error)) {
      serial = attribute(up / "serial");
      break;
    }
  }
  if (kind == DeviceKind::kLoop) {
    return base::printable(attribute(path / "loop/backing_file").value_or(""), PATH_MAX);
  }
  return base::printable(serial.value_or(""), kMaxSerialBytes);
}

std::vector<BlockDevice> partitions_of(const fs::path& path) {
  std::vector<std::pair<unsigned, BlockDevice>> found;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    const auto index = number_in<unsigned>(entry->path() / "partition");
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
                       .sequence = number_in<std::uint64_t>(path / "diskseq")};
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
