#include "image/ext_blocks.hpp"

#include <ext2fs/ext2fs.h>

#include <algorithm>

#include "image/ext_errors.hpp"

namespace image {
namespace {

using base::Result;
using base::Status;

constexpr std::uint64_t kMaxExtentBlocks = 32'768;

}  // namespace

Result<Extent> ExtBlocks::take(std::uint64_t logical, std::uint64_t wanted) {
  blk64_t at = 0;
  blk64_t count = 0;
  const blk64_t goal = std::max<blk64_t>(next_, fs_->super->s_first_data_block);
  if (const errcode_t error = ext2fs_new_range(fs_, 0, goal, wanted, nullptr, &at, &count);
      error != 0) {
    return ext_error(error, "find free blocks");
  }
  count = std::min<blk64_t>(count, wanted);
  ext2fs_block_alloc_stats_range(fs_, at, static_cast<blk_t>(count), +1);
  next_ = at + count;
  return Extent{logical, at, count};
}

void ExtBlocks::add(Extents& extents, const Extent& more) {
  if (!extents.empty()) {
    Extent& last = extents.back();
    if (last.logical + last.blocks == more.logical &&
        last.physical + last.blocks == more.physical &&
        last.blocks + more.blocks <= kMaxExtentBlocks) {
      last.blocks += more.blocks;
      return;
    }
  }
  extents.push_back(more);
}

Status ExtBlocks::append(Extents& extents, std::uint64_t logical, base::ByteView bytes) {
  const std::uint64_t block = fs_->blocksize;
  while (!bytes.empty()) {
    OU_TRY(const Extent got, take(logical, std::min(bytes.size() / block, kMaxExtentBlocks)));
    const auto part = bytes.first(got.blocks * block);
    if (const errcode_t error = io_channel_write_blk64(fs_->io, got.physical,
                                                       static_cast<int>(got.blocks), part.data());
        error != 0) {
      return ext_error(error, "write to the file system");
    }
    add(extents, got);
    logical += got.blocks;
    bytes = bytes.subspan(part.size());
  }
  return base::ok();
}

Status ExtBlocks::record(std::uint32_t inode, const Extents& extents) {
  ext2_extent_handle_t handle = nullptr;
  errcode_t error = ext2fs_extent_open(fs_, inode, &handle);
  for (const Extent& extent : extents) {
    if (error != 0) {
      break;
    }
    ext2fs_extent record{};
    record.e_lblk = extent.logical;
    record.e_pblk = extent.physical;
    record.e_len = static_cast<__u32>(extent.blocks);
    error = ext2fs_extent_insert(handle, EXT2_EXTENT_INSERT_AFTER, &record);
  }
  if (handle != nullptr) {
    ext2fs_extent_free(handle);
  }
  return error == 0 ? base::ok() : ext_error(error, "record where a file lies");
}

}  // namespace image
