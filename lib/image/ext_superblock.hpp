// What a file system says of itself, checked before libext2fs believes it. Private to this library.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "image/block_range.hpp"
#include "image/ext_file_system.hpp"

namespace image {

/// Reads the superblock and checks its sizes against the range, and whether the file system can be
/// read, or changed, with this library.
/// \error ErrorCode::kDiskImage, kDiskImageUnsupported, kIo
base::Status check_superblock(const BlockRange& range, ExtFileSystem::Access access);

/// The size in blocks and the size of a block, of a superblock that was checked.
struct ExtSize {
  std::uint64_t blocks;
  std::uint32_t block_bytes;
};

/// \error as check_superblock() for reading
base::Result<ExtSize> read_ext_size(const BlockRange& range);

}  // namespace image
