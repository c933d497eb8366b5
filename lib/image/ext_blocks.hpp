// Takes blocks of an ext4 file system for files and directories, and writes them. Private to this
// library.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"

struct struct_ext2_filsys;

namespace image {

/// A run of blocks of one file.
struct Extent {
  std::uint64_t logical;
  std::uint64_t physical;
  std::uint64_t blocks;
};

using Extents = std::vector<Extent>;

/// First fit, from front to end; starts again at the front only when the end is reached.
class ExtBlocks {
 public:
  explicit ExtBlocks(struct_ext2_filsys* fs) : fs_(fs) {}

  /// Takes up to `wanted` free blocks in one run. \error ErrorCode::kNoSpace
  base::Result<Extent> take(std::uint64_t logical, std::uint64_t wanted);
  /// Takes blocks for `bytes`, writes them and adds them to `extents`.
  /// \pre bytes.size() is a multiple of the block size \error ErrorCode::kNoSpace, kIo
  base::Status append(Extents& extents, std::uint64_t logical, base::ByteView bytes);
  /// Records the extents in an inode that is on the disk already, without any so far.
  base::Status record(std::uint32_t inode, const Extents& extents);

  static void add(Extents& extents, const Extent& more);

 private:
  struct_ext2_filsys* fs_;
  std::uint64_t next_ = 0;
};

/// How many extents an inode holds without a block for more.
inline constexpr std::size_t kInodeExtents = 4;

}  // namespace image
