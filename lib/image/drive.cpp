#include "image/drive.hpp"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "base/disk_collector.hpp"
#include "base/files.hpp"
#include "base/handle.hpp"
#include "base/lines.hpp"
#include "base/mount_table.hpp"
#include "base/printable.hpp"
#include "base/sysfs.hpp"

namespace image {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::uint64_t kSysfsSectorBytes = 512;
constexpr std::uint64_t kMaxSwapsBytes = std::uint64_t{1} << 20U;

std::string text_at(const fs::path& path) {
  std::string text = base::sysfs_attribute(path).value_or("");
  text.erase(0, text.find_first_not_of(' '));
  return text;
}

std::uint64_t size_at(const fs::path& directory) {
  const std::uint64_t sectors = base::sysfs_number(directory / "size").value_or(0);
  return std::min(sectors, std::numeric_limits<std::uint64_t>::max() / kSysfsSectorBytes) *
         kSysfsSectorBytes;
}

bool is_bus_directory(std::string_view component, std::string_view name) {
  return component.starts_with(name) && component.size() > name.size() &&
         component.find_first_not_of("0123456789", name.size()) == std::string_view::npos;
}

/// \param path the disk's directory below /sys/devices
Bus bus_of(const fs::path& path) {
  if (path.parent_path().parent_path().filename() == "virtual") {
    return Bus::kVirtual;
  }
  const auto has = [&path](std::string_view name) {
    return std::any_of(path.begin(), path.end(), [name](const auto& component) {
      return is_bus_directory(component.native(), name);
    });
  };
  const std::array<std::pair<const char*, Bus>, 6> kinds = {{{"usb", Bus::kUsb},
                                                             {"mmc", Bus::kMmc},
                                                             {"nvme", Bus::kNvme},
                                                             {"ata", Bus::kAta},
                                                             {"virtio", Bus::kVirtio},
                                                             {"host", Bus::kScsi}}};
  for (const auto& [name, bus] : kinds) {
    if (has(name)) {
      return bus;
    }
  }
  return Bus::kOther;
}

/// An SD card has its type; an eMMC is soldered to the board, whatever its drive says.
bool is_removable(const fs::path& path, Bus bus) {
  if (bus == Bus::kVirtual) {
    return false;
  }
  return bus == Bus::kUsb || (bus == Bus::kMmc && text_at(path / "device/type") == "SD") ||
         base::sysfs_number(path / "removable") == 1;
}

/// Of the USB device that the disk hangs on, or else of the disk itself.
std::string serial_of(const fs::path& path, Bus bus) {
  std::error_code error;
  for (auto up = path; bus == Bus::kUsb && up != up.parent_path(); up = up.parent_path()) {
    if (fs::exists(up / "idVendor", error)) {
      return text_at(up / "serial");
    }
  }
  return text_at(path / "device/serial");
}

using Probe = base::Handle<blkid_struct_probe, blkid_free_probe>;

std::string probed(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  return ::blkid_probe_lookup_value(probe, name, &value, nullptr) == 0 ? value : "";
}

/// Label and file system, as far as this user may read the device.
void probe(const fs::path& device, DrivePartition& partition) {
  const auto fd = base::open_file(device, O_RDONLY | O_NONBLOCK);
  const Probe probe(::blkid_new_probe());
  if (!fd || !probe || ::blkid_probe_set_device(probe.get(), fd->get(), 0, 0) != 0) {
    return;
  }
  ::blkid_probe_enable_superblocks(probe.get(), 1);
  ::blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_LABEL | BLKID_SUBLKS_TYPE);
  if (::blkid_do_safeprobe(probe.get()) == 0) {
    partition.label = probed(probe.get(), "LABEL");
    partition.file_system = probed(probe.get(), "TYPE");
  }
}

/// "part of dm-0 (vg-root)" for each device that is built on this disk or partition.
void add_holders(const fs::path& directory, std::vector<DriveUse>& uses) {
  std::error_code error;
  for (fs::directory_iterator holder(directory / "holders", error), end; !error && holder != end;
       holder.increment(error)) {
    const std::string name = text_at(holder->path() / "dm/name");
    uses.push_back({.what = "part of " + holder->path().filename().string() +
                            (name.empty() ? "" : " (" + base::printable(name) + ")")});
  }
}

void add_partitions(const fs::path& path, const fs::path& dev, Drive& drive) {
  std::vector<std::pair<std::uint64_t, DrivePartition>> found;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (const auto index = base::sysfs_number(entry->path() / "partition")) {
      DrivePartition partition{.name = entry->path().filename().string(),
                               .size_bytes = size_at(entry->path())};
      probe(dev / partition.name, partition);
      found.emplace_back(*index, std::move(partition));
      add_holders(entry->path(), drive.uses);
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [index, partition] : found) {
    drive.partitions.push_back(std::move(partition));
  }
}

/// Optical drives cannot be written so; mmcblk0boot0 and mmcblk0rpmb are areas of a drive.
bool is_special(const std::string& name) {
  return name.starts_with("sr") || name.starts_with("fd") ||
         (name.starts_with("mmcblk") &&
          (name.find("boot") != std::string::npos || name.find("rpmb") != std::string::npos));
}

std::optional<Drive> read_drive(const fs::path& path, const fs::path& dev) {
  const auto number = base::sysfs_device(path);
  Drive drive{.name = path.filename().string(), .size_bytes = size_at(path)};
  if (!number || drive.size_bytes == 0 || is_special(drive.name)) {
    return std::nullopt;
  }
  drive.number = *number;
  drive.bus = bus_of(path);
  drive.vendor = text_at(path / "device/vendor");
  if (drive.vendor.starts_with("0x")) {
    drive.vendor.clear();  // the number of a PCI vendor
  }
  drive.model = text_at(path / "device/model");
  if (drive.model.empty()) {
    drive.model = text_at(path / "device/name");  // of a card
  }
  if (drive.bus == Bus::kVirtual) {
    drive.model = text_at(path / "loop/backing_file");
  }
  drive.serial = serial_of(path, drive.bus);
  drive.removable = is_removable(path, drive.bus);
  drive.read_only = base::sysfs_number(path / "ro") != 0;
  add_holders(path, drive.uses);
  add_partitions(path, dev, drive);
  return drive;
}

/// What nobody can do without while the system runs, by where it is mounted.
bool is_system_target(const fs::path& target) {
  constexpr std::array<std::string_view, 10> kTargets = {
      "/", "/boot", "/boot/efi", "/boot/firmware", "/efi", "/usr", "/var", "/home", "/etc", "/nix"};
  return std::find(kTargets.begin(), kTargets.end(), target.native()) != kTargets.end();
}

void mark(std::vector<Drive>& drives, const std::set<dev_t>& disks, const DriveUse& use) {
  for (Drive& drive : drives) {
    const bool known =
        std::any_of(drive.uses.begin(), drive.uses.end(),
                    [&use](const DriveUse& other) { return other.what == use.what; });
    if (disks.count(drive.number) > 0 && !known) {
      drive.uses.push_back(use);
    }
  }
}

/// Mounts as this process sees them, and as the first process does.
base::Status mark_mounts(const DriveSources& sources, std::vector<Drive>& drives) {
  OU_TRY(auto mounts, base::read_mount_table(sources.proc / "self/mountinfo"));
  if (auto first = base::read_mount_table(sources.proc / "1/mountinfo")) {
    mounts.insert(mounts.end(), first->begin(), first->end());
  }
  for (const auto& mount : mounts) {
    base::DiskCollector collector(sources.sys, "/");
    collector.add_mount(mount);
    mark(drives, collector.disks(),
         {.what = "mounted at " + base::printable(mount.target.string()),
          .system = is_system_target(mount.target),
          .mount_target = mount.target.string()});
  }
  base::DiskCollector root(sources.sys, "/");
  static_cast<void>(root.add_file("/"));
  mark(drives, root.disks(), {.what = "mounted at /", .system = true, .mount_target = "/"});
  return base::ok();
}

base::Status mark_swaps(const DriveSources& sources, std::vector<Drive>& drives) {
  const auto bytes = base::read_file(sources.proc / "swaps", kMaxSwapsBytes);
  if (!bytes && bytes.error().code() == ErrorCode::kNotFound) {
    return base::ok();  // a kernel without swap
  }
  OU_CHECK(bytes);
  std::string_view text = base::as_text(*bytes);
  while (!text.empty()) {
    const std::string_view line = base::take_line(text);
    base::DiskCollector collector(sources.sys, "/");
    collector.add_source(std::string(line.substr(0, line.find_first_of(" \t"))));
    mark(drives, collector.disks(), {.what = "swap", .system = true});
  }
  return base::ok();
}

}  // namespace

std::string_view name_of(Bus bus) {
  switch (bus) {
    case Bus::kUsb:
      return "usb";
    case Bus::kMmc:
      return "mmc";
    case Bus::kNvme:
      return "nvme";
    case Bus::kAta:
      return "ata";
    case Bus::kScsi:
      return "scsi";
    case Bus::kVirtio:
      return "virtio";
    case Bus::kVirtual:
      return "virtual";
    case Bus::kOther:
      return "other";
  }
  return "other";
}

std::string Drive::description() const {
  return base::printable(vendor + (vendor.empty() || model.empty() ? "" : " ") + model, 60);
}

bool Drive::holds_system() const {
  return std::any_of(uses.begin(), uses.end(), [](const DriveUse& use) { return use.system; });
}

Result<std::vector<Drive>> list_drives(const DriveSources& sources) {
  std::vector<Drive> drives;
  std::error_code error;
  for (fs::directory_iterator entry(sources.sys / "block", error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code gone;
    const auto path = fs::canonical(entry->path(), gone);
    auto drive = gone ? std::nullopt : read_drive(path, sources.dev);
    if (drive) {
      drives.push_back(*std::move(drive));
    }
  }
  if (error) {
    return Error::from_errno(error.value(), "list " + (sources.sys / "block").string());
  }
  std::sort(drives.begin(), drives.end(),
            [](const Drive& a, const Drive& b) { return a.name < b.name; });
  OU_CHECK(mark_mounts(sources, drives).within("find the drives that are mounted"));
  OU_CHECK(mark_swaps(sources, drives).within("find the drives that hold swap"));
  return drives;
}

std::optional<std::string> refusal_of(const Drive& drive, bool allow_fixed) {
  if (drive.holds_system()) {
    const auto use = std::find_if(drive.uses.begin(), drive.uses.end(),
                                  [](const DriveUse& candidate) { return candidate.system; });
    return "holds the running system (" + use->what + ")";
  }
  if (!drive.uses.empty()) {
    return "in use: " + drive.uses.front().what;
  }
  if (drive.read_only) {
    return "read-only";
  }
  if (!drive.removable && !allow_fixed) {
    return drive.bus == Bus::kVirtual ? "virtual" : "not removable";
  }
  return std::nullopt;
}

Result<Drive> find_drive(const fs::path& path, const DriveSources& sources) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return Error::from_errno(errno, "look at " + path.string());
  }
  const std::string list = ": bundle-tool drives lists what there is";
  if (!S_ISBLK(status.st_mode)) {
    return Error(ErrorCode::kDriveRefused, path.string() + " is no drive" + list);
  }
  OU_TRY(const auto drives, list_drives(sources));
  for (const Drive& drive : drives) {
    if (drive.number == status.st_rdev) {
      return drive;
    }
  }
  const auto directory = base::sysfs_block_directory(sources.sys, status.st_rdev);
  std::error_code error;
  if (directory && fs::exists(*directory / "partition", error)) {
    return Error(ErrorCode::kDriveRefused, path.string() + " is a partition: an image is for the " +
                                               "whole drive, /dev/" +
                                               directory->parent_path().filename().string());
  }
  return Error(ErrorCode::kDriveRefused,
               path.string() + " has no medium in it, or is no drive for images" + list);
}

}  // namespace image
