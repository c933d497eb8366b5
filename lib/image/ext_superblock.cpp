#include "image/ext_superblock.hpp"

#include <ext2fs/ext2fs.h>

#include <array>
#include <cstring>
#include <string>

namespace image {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::uint64_t kSuperblockAt = 1024;
constexpr std::uint64_t kMaxDescriptorBytes = std::uint64_t{64} << 20U;
constexpr std::uint32_t kMaxBlockLog = 6;  // 64 KiB

/// Features with which ordinary writes by libext2fs leave the file system consistent.
constexpr std::uint32_t kChangeableIncompatible =
    EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT |
    EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT2_FEATURE_INCOMPAT_META_BG |
    EXT4_FEATURE_INCOMPAT_CSUM_SEED | EXT4_FEATURE_INCOMPAT_LARGEDIR;
constexpr std::uint32_t kChangeableReadOnly =
    EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
    EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_GDT_CSUM |
    EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE |
    EXT4_FEATURE_RO_COMPAT_METADATA_CSUM;

using Superblock = ext2_super_block;

Error damaged(const std::string& what) {
  return {ErrorCode::kDiskImage, "the ext file system is damaged: " + what};
}

base::Result<Superblock> read_superblock(const BlockRange& range) {
  std::array<std::uint8_t, sizeof(Superblock)> bytes{};
  if (range.size_bytes() < kSuperblockAt + bytes.size()) {
    return Error(ErrorCode::kDiskImage, "this is no ext file system: it is too short");
  }
  OU_CHECK(range.read(kSuperblockAt, bytes));
  Superblock super{};
  std::memcpy(&super, bytes.data(), bytes.size());
  if (super.s_magic != EXT2_SUPER_MAGIC) {
    return Error(ErrorCode::kDiskImage, "this is no ext file system");
  }
  return super;
}

base::Status check_sizes(Superblock& super, const BlockRange& range) {
  if (super.s_log_block_size > kMaxBlockLog) {
    return damaged("its blocks have an impossible size");
  }
  const auto block_bytes = static_cast<std::uint64_t>(EXT2_BLOCK_SIZE(&super));
  const std::uint64_t blocks = ext2fs_blocks_count(&super);
  if (blocks > range.size_bytes() / block_bytes) {
    return Error(ErrorCode::kDiskImage,
                 "the ext file system says that it has " + std::to_string(blocks) + " blocks of " +
                     std::to_string(block_bytes) + " bytes, which is more than its partition of " +
                     std::to_string(range.size_bytes()) + " bytes");
  }
  if (super.s_blocks_per_group < 8 || super.s_blocks_per_group > block_bytes * 8 ||
      super.s_first_data_block != (block_bytes == 1024 ? 1U : 0U) ||
      super.s_first_data_block >= blocks || super.s_inodes_per_group == 0 ||
      super.s_inodes_per_group > block_bytes * 8) {
    return damaged("its block groups have an impossible size");
  }
  const std::uint64_t groups = blocks / super.s_blocks_per_group + 1;
  const std::uint64_t descriptor_bytes = ext2fs_has_feature_64bit(&super) ? super.s_desc_size : 32;
  if (groups * descriptor_bytes > kMaxDescriptorBytes) {
    return damaged("it has too many block groups");
  }
  return base::ok();
}

base::Status check_readable(Superblock& super) {
  if (ext2fs_has_feature_journal_dev(&super)) {
    return Error(ErrorCode::kDiskImage, "this is the journal of an ext file system, not one");
  }
  if (ext2fs_has_feature_bigalloc(&super)) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the ext file system has the feature bigalloc, which no balenaOS image has; make "
                 "it again without");
  }
  return base::ok();
}

base::Status check_changeable(Superblock& super) {
  if (ext2fs_has_feature_journal_needs_recovery(&super) || super.s_last_orphan != 0 ||
      ext2fs_has_feature_orphan_present(&super)) {
    return Error(ErrorCode::kDiskImage,
                 "the ext file system was not unmounted, its journal holds changes; run e2fsck -f "
                 "on it, or take an image that no device has started from");
  }
  if ((super.s_state & EXT2_VALID_FS) == 0 || (super.s_state & EXT2_ERROR_FS) != 0) {
    return Error(ErrorCode::kDiskImage,
                 "the ext file system is marked as damaged; run e2fsck -f on it, or take another "
                 "copy of the image");
  }
  const std::uint32_t incompatible = super.s_feature_incompat & ~kChangeableIncompatible;
  const std::uint32_t read_only = super.s_feature_ro_compat & ~kChangeableReadOnly;
  if (incompatible != 0 || read_only != 0 || super.s_rev_level < EXT2_DYNAMIC_REV) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the ext file system has features that no balenaOS image has (revision " +
                     std::to_string(super.s_rev_level) + ", incompatible " +
                     std::to_string(incompatible) + ", read-only " + std::to_string(read_only) +
                     "; dumpe2fs -h names them); make it again without them");
  }
  return base::ok();
}

}  // namespace

base::Status check_superblock(const BlockRange& range, ExtFileSystem::Access access) {
  OU_TRY(Superblock super, read_superblock(range));
  OU_CHECK(check_sizes(super, range));
  OU_CHECK(check_readable(super));
  return access == ExtFileSystem::Access::kChange ? check_changeable(super) : base::ok();
}

base::Result<ExtSize> read_ext_size(const BlockRange& range) {
  OU_TRY(Superblock super, read_superblock(range));
  OU_CHECK(check_sizes(super, range));
  return ExtSize{.blocks = ext2fs_blocks_count(&super),
                 .block_bytes = static_cast<std::uint32_t>(EXT2_BLOCK_SIZE(&super))};
}

}  // namespace image
