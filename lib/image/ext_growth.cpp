#include "image/ext_growth.hpp"

#include <ext2fs/ext2fs.h>

#include <algorithm>

namespace image {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 40U;
constexpr std::uint64_t kLeastUseful = 50;  // resize2fs leaves a last group with fewer blocks out

/// What a block group has that no file can have: bitmaps, inodes, maybe copies of the superblock.
std::uint64_t overhead_of(ext2_filsys fs, std::uint64_t group) {
  std::uint64_t blocks = 2 + fs->inode_blocks_per_group;
  if (ext2fs_bg_has_super(fs, static_cast<dgrp_t>(group)) != 0) {
    blocks += 1 + fs->desc_blocks + fs->super->s_reserved_gdt_blocks;
  }
  return blocks;
}

}  // namespace

base::Result<std::uint64_t> missing_bytes(const ExtFileSystem& files, const base::Room& need) {
  ext2_filsys fs = files.handle();
  const std::uint64_t block = fs->blocksize;
  const base::Room free = files.free();
  std::uint64_t blocks =
      need.bytes > free.bytes ? base::in_blocks(need.bytes - free.bytes, block) / block : 0;
  std::uint64_t inodes = need.inodes > free.inodes ? need.inodes - free.inodes : 0;
  if (blocks == 0 && inodes == 0) {
    return std::uint64_t{0};
  }
  const std::uint64_t per_group = fs->super->s_blocks_per_group;
  const std::uint64_t total = ext2fs_blocks_count(fs->super);
  std::uint64_t groups = fs->group_desc_count;
  std::uint64_t end = fs->super->s_first_data_block + groups * per_group;
  // The last group may be short: what it grows by is all for files.
  const std::uint64_t in_last = std::min(end - total, blocks);
  if (inodes == 0 && in_last == blocks) {
    return blocks * block;
  }
  blocks -= in_last;
  while (end * block < kMaxBytes) {
    const std::uint64_t overhead = overhead_of(fs, groups);
    const std::uint64_t useful = per_group - std::min(overhead, per_group);
    inodes -= std::min<std::uint64_t>(inodes, fs->super->s_inodes_per_group);
    if (inodes == 0 && blocks <= useful) {
      return (end + std::min(overhead + std::max(blocks, kLeastUseful), per_group) - total) * block;
    }
    blocks -= std::min(blocks, useful);
    end += per_group;
    ++groups;
  }
  return Error(ErrorCode::kLimitExceeded, "the data partition would become larger than 16 TiB");
}

}  // namespace image
