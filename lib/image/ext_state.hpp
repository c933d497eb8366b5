// What an ExtFileSystem holds, and the pieces that reading and changing share. Private to this
// library.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "image/ext_file_system.hpp"

namespace image {

struct ExtFileSystem::State {
  explicit State(BlockRange whole) : range(std::move(whole)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  BlockRange range;
  ext2_filsys handle = nullptr;
  Access access = Access::kRead;
};

/// An inode as libext2fs reads it, with the fields behind the first 128 bytes.
using Inode = ext2_inode_large;

/// Consecutive blocks of a file that are consecutive on the disk too.
struct Run {
  std::uint64_t first;     // in the file
  std::uint64_t physical;  // on the disk
  std::uint32_t count;
  bool zeros;  // allocated, never written
};

/// \error ErrorCode::kDiskImage when there is no such inode, or it is not in use; kIo
base::Result<Inode> read_inode(ext2_filsys handle, std::uint32_t inode);

/// Where the content of a file, directory or symbolic link is, in order; all of it inside the file
/// system, and holes left out.
/// \param map_blocks when given: where the map itself is (indirect blocks, extent tree)
/// \error ErrorCode::kDiskImage, kDiskImageUnsupported for content that is not in blocks; kIo
base::Result<std::vector<Run>> read_runs(ext2_filsys handle, std::uint32_t number, Inode& inode,
                                         std::vector<std::uint64_t>* map_blocks = nullptr);

/// The inode of `name` in a directory; 0 when it has none. \error ErrorCode::kDiskImage, kIo
base::Result<std::uint32_t> find_in_directory(ext2_filsys handle, std::uint32_t directory,
                                              std::string_view name);

}  // namespace image
