// What kind of place a bundle is copied to, and whether it fits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bundle_files.hpp"

namespace tool {

struct Destination {
  std::string filesystem;            // "FAT", "exFAT", "ext", or the magic number
  bool devices_take_it = false;      // on the agent's default allow-list
  std::uint64_t max_file_bytes = 0;  // 0: no limit worth naming
  std::uint64_t block_bytes = 0;     // what a file's size is rounded up to
  std::uint64_t free_bytes = 0;
  std::uint64_t free_inodes = 0;
  bool counts_inodes = false;  // FAT and exFAT have none
  bool is_root_filesystem = false;
};

/// \error ErrorCode::kNotFound, kPermission, kIo; kUsage when it is no directory
/// \source statfs(2), statvfs(3)
base::Result<Destination> survey_destination(const std::filesystem::path& directory);

/// Whether `missing` can be written, with room for directories.
/// \error ErrorCode::kBlobTooLarge: a file is larger than the file system takes; kNoSpace: with how
///   much is needed and free; kNotEnoughInodes
base::Status check_fits(const Destination& destination, const std::vector<ListedFile>& missing);

}  // namespace tool
