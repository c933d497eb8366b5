// Gives a new inode its content, and takes it away again: the blocks of a file in as few runs as
// there is room for, written in large pieces. Private to this library.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "oci/byte_source.hpp"

struct struct_ext2_filsys;
struct ext2_inode;

namespace image {

/// Allocates blocks for `size_bytes`, writes them from `content`, and sets the size. `inode` is
/// changed to fit; the caller writes it to the disk.
/// \pre the inode `number` has been written with ext2fs_write_new_inode(), without content
/// \error ErrorCode::kNoSpace; kDiskImage; kIo, also when `content` is shorter or longer; that of
///   `content`. What was allocated then stays so until release_content()
base::Status write_content(struct_ext2_filsys* handle, std::uint32_t number, ext2_inode& inode,
                           oci::ByteSource& content, std::uint64_t size_bytes);

/// Frees all blocks and extended attributes of `inode`; it is marked as deleted in the bitmap and
/// on the disk. \pre no directory names it any more \error ErrorCode::kDiskImage, kIo
base::Status release_inode(struct_ext2_filsys* handle, std::uint32_t number, ext2_inode& inode);

}  // namespace image
