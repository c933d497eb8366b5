// Which files of the boot partition are the device's own and not the OS version's.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace agent::record {

/// When a backed-up file is put back after an update.
enum class PutBack {
  kNever,          // belongs to the version of the OS: kept for people only
  kWhenLost,       // missing or empty; the OS's update keeps it, and the supervisor may change it
  kWhenDifferent,  // the OS's update overwrites it
};

/// What is to be done with the file at `path` of its partition ("EFI/BOOT/grub_extraenv").
/// \source balenaos.md sections 1 and 5
PutBack put_back_rule(std::string_view path);

/// Whether a file of this name must never be made by us anywhere on the boot partition: the OS
/// looks for boot selectors by name alone. Letters count in either case, as on FAT.
/// \source balenaos.md section 3
bool is_boot_selector_name(std::string_view name);

/// The settings below `partition` as fatrw_peek() reads them: path to content. What cannot be read,
/// is larger than any such file, or has a name that cannot be written down is left out: it is not
/// worth stopping an update for.
std::map<std::string, std::string> read_boot_settings(const std::filesystem::path& partition);

}  // namespace agent::record
