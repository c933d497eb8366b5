// Attributes of devices in sysfs, or in a directory that is made like it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace base {

/// The text of an attribute without line break and blanks at its end; nothing if it is not there
/// (any more) or longer than 8 KiB.
std::optional<std::string> sysfs_attribute(const std::filesystem::path& path);

/// An attribute that is one decimal number; nothing if it is anything else.
std::optional<std::uint64_t> sysfs_number(const std::filesystem::path& path);

/// The device number ("8:16") in the file `dev` of a device's directory.
std::optional<dev_t> sysfs_device(const std::filesystem::path& directory);

/// The directory of the block device with that number; nothing if there is none.
std::optional<std::filesystem::path> sysfs_block_directory(const std::filesystem::path& sys,
                                                           dev_t device);

}  // namespace base
