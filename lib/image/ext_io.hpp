// How libext2fs reaches the disk: an io_manager over a BlockRange, with a small write-back cache
// for single blocks of metadata. Private to this library.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "image/block_range.hpp"

struct struct_io_manager;
struct struct_io_channel;

namespace image {

/// The io_manager for ext2fs_open(). A channel of it owns a descriptor of its own.
struct_io_manager* range_io_manager();

/// What range_io_manager() takes as the name of a file system. It is no path, so that nothing in
/// libext2fs can open it as one.
std::string range_io_name(const BlockRange& range);

/// Reads bytes past the cache, with what is still unwritten in it written first.
/// \pre `channel` is one of range_io_manager() \error ErrorCode::kDiskImage, kIo, kNoSpace
base::Status range_io_read(struct_io_channel* channel, std::uint64_t at,
                           std::span<std::uint8_t> buffer);

/// Writes bytes past the cache; what it has of them is forgotten.
/// \pre as range_io_read() \error ErrorCode::kDiskImage, kIo, kNoSpace
base::Status range_io_write(struct_io_channel* channel, std::uint64_t at, base::ByteView bytes);

/// From now on nothing is written any more, not even what the cache still holds.
void range_io_abandon(struct_io_channel* channel);

}  // namespace image
