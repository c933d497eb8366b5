#include "media/media_policy.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/printable.hpp"

namespace agent::media {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view kEfiSystemGuid = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
constexpr std::string_view kEfiSystemMbr = "0xef";

// What balenaOS and its flasher look for by label.
constexpr std::array<std::string_view, 3> kSystemLabels = {"resin-", "balena-", "flash-"};

// In lower case. Files and directories from which a boot loader or firmware of a balena device
// starts or takes settings when it finds them at the root of any medium.
constexpr std::array<std::string_view, 24> kBootNames = {"balena-image",   "balena-image-flasher",
                                                         "extra_uenv.txt", "resinos_uenv.txt",
                                                         "uenv.txt",       "bootcount.env",
                                                         "bootenv",        "grubenv",
                                                         "grub.cfg",       "boot.scr",
                                                         "boot.scr.uimg",  "boot.ini",
                                                         "extlinux.conf",  "efi",
                                                         "grub",           "extlinux",
                                                         "syslinux",       "boot",
                                                         "bootcode.bin",   "recovery.bin",
                                                         "pieeprom.upd",   "autoboot.txt",
                                                         "boot.img",       "boot.sig"};

struct Pattern {
  std::string_view prefix;
  std::string_view suffix;
};
// The Raspberry Pi's second stage and kernels.
constexpr std::array<Pattern, 2> kBootPatterns = {Pattern{"start", ".elf"},
                                                  Pattern{"kernel", ".img"}};

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') {
      c = static_cast<char>(c - 'A' + 'a');
    }
  }
  return result;
}

bool is_system_label(const std::string& label) {
  const auto name = lower(label);
  return std::any_of(kSystemLabels.begin(), kSystemLabels.end(),
                     [&name](auto prefix) { return name.starts_with(prefix); });
}

bool is_boot_name(const std::string& name) {
  return std::find(kBootNames.begin(), kBootNames.end(), name) != kBootNames.end() ||
         std::any_of(kBootPatterns.begin(), kBootPatterns.end(), [&name](const auto& pattern) {
           return name.starts_with(pattern.prefix) && name.ends_with(pattern.suffix);
         });
}

template <typename Values, typename Name>
std::string list_of(const Values& values, Name name) {
  std::string text;
  for (const auto& value : values) {
    text += (text.empty() ? "" : ", ") + std::string(name(value));
  }
  return text.empty() ? "none" : text;
}

base::Status check_volume(const Volume& volume) {
  const auto refused = [&volume](const std::string& why) {
    return Error(ErrorCode::kMediumRefused, volume.device.name + " " + why);
  };
  for (const auto& label : {volume.label, volume.partition_label}) {
    if (is_system_label(label)) {
      return refused("has the label " + base::printable(label) +
                     ", which could be taken for a partition of the device's own system; give it "
                     "another label, or format the medium anew");
    }
  }
  const auto type = lower(volume.partition_type);
  if (type == kEfiSystemGuid || type == kEfiSystemMbr) {
    return refused(
        "is an EFI system partition, from which a device could boot; format the medium anew "
        "with one ordinary partition");
  }
  if (volume.boot_flag) {
    return refused(
        "is marked as bootable; clear the flag (sfdisk --activate DISK -) or format the medium "
        "anew");
  }
  return base::ok();
}

}  // namespace

bool is_ignored(const Medium& medium, const MediaPolicy& policy) {
  return medium.kind == DeviceKind::kLoop && !policy.loop_files.empty() &&
         !medium.serial.starts_with(policy.loop_files + "/");
}

base::Result<std::vector<Volume>> check_medium(const Medium& medium,
                                               const std::vector<Volume>& volumes,
                                               const std::set<dev_t>& system_disks,
                                               const MediaPolicy& policy) {
  if (system_disks.contains(medium.disk.number)) {
    return Error(ErrorCode::kMediumSystemDisk,
                 medium.disk.name +
                     " is a disk that the running system stands on or has mounted; "
                     "it is never used as a medium");
  }
  if (!policy.kinds.contains(medium.kind)) {
    return Error(
        ErrorCode::kMediumRefused,
        medium.disk.name + " is a medium of the kind " + std::string(name_of(medium.kind)) +
            "; allowed: " + list_of(policy.kinds, [](auto kind) { return name_of(kind); }) +
            " (OFFLINE_UPDATER_MEDIA)");
  }
  for (const auto& volume : volumes) {
    OU_CHECK(check_volume(volume));
  }
  std::vector<Volume> allowed;
  std::copy_if(
      volumes.begin(), volumes.end(), std::back_inserter(allowed),
      [&policy](const auto& volume) { return policy.file_systems.contains(volume.file_system); });
  if (allowed.empty()) {
    const auto found = list_of(volumes, [](const auto& volume) {
      return volume.device.name + " " +
             (volume.file_system.empty() ? "(unknown)" : base::printable(volume.file_system));
    });
    return Error(ErrorCode::kMediumFilesystem,
                 medium.disk.name + " has no file system that may be used; allowed: " +
                     list_of(policy.file_systems, [](const auto& name) { return name; }) +
                     "; found: " + found + "; format the medium with one that is allowed");
  }
  return allowed;
}

base::Status check_boot_files(const std::vector<std::string>& root_names) {
  for (const auto& name : root_names) {
    if (is_boot_name(lower(name))) {
      return Error(ErrorCode::kMediumRefused,
                   "the medium holds " + base::printable(name) +
                       ", from which a device could boot or take boot settings; remove it");
    }
  }
  return base::ok();
}

}  // namespace agent::media
