// What is mounted, from a mountinfo file.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace base {

struct MountedFileSystem {
  dev_t device = 0;              // major 0 for one that is not directly on a block device
  std::string source;            // "/dev/sda1", "tmpfs"
  std::filesystem::path target;  // in the mount namespace that the table is of
};

/// In the order in which they were mounted. \error ErrorCode::kNotFound, kPermission, kIo
/// \source proc(5): /proc/PID/mountinfo; read with libmount
Result<std::vector<MountedFileSystem>> read_mount_table(const std::filesystem::path& file);

/// Whether `path` is `directory` or below it, by their names.
bool is_at_or_below(const std::filesystem::path& path, const std::filesystem::path& directory);

}  // namespace base
