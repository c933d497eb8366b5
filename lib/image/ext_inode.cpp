#include "image/ext_inode.hpp"

#include <algorithm>
#include <cstring>

namespace image {
namespace {

using Kind = LayerEntry::Kind;

constexpr std::size_t kPlainInodeBytes = 128;
constexpr std::size_t kExtraBytes = 32;                // of ext2_inode_large behind the plain inode
constexpr std::int64_t kMaxTime = 15'032'385'535;      // 2446: 34 bits from 1901
constexpr std::int64_t kMaxPlainTime = 2'147'483'647;  // 2038: inodes of 128 bytes
constexpr std::uint32_t kAttributeMagic = EXT2_EXT_ATTR_MAGIC;

std::uint16_t type_bits(Kind kind) {
  switch (kind) {
    case Kind::kDirectory:
      return LINUX_S_IFDIR;
    case Kind::kSymlink:
      return LINUX_S_IFLNK;
    case Kind::kCharDevice:
      return LINUX_S_IFCHR;
    case Kind::kBlockDevice:
      return LINUX_S_IFBLK;
    case Kind::kFifo:
      return LINUX_S_IFIFO;
    case Kind::kFile:
    case Kind::kHardlink:
      break;
  }
  return LINUX_S_IFREG;
}

}  // namespace

bool ExtInode::has_extra() const {
  return static_cast<std::size_t>(size()) > kPlainInodeBytes;
}

bool ExtInode::has_attributes() {
  if (large().i_file_acl != 0 || large().osd2.linux2.l_i_file_acl_high != 0) {
    return true;
  }
  const std::size_t at = kPlainInodeBytes + (has_extra() ? large().i_extra_isize : 0U);
  std::uint32_t magic = 0;
  if (!has_extra() || at + sizeof(magic) > static_cast<std::size_t>(size())) {
    return false;
  }
  std::memcpy(&magic, reinterpret_cast<const char*>(words_.data()) + at, sizeof(magic));
  return magic == kAttributeMagic;
}

void ExtInode::start(const LayerEntry& entry) {
  std::fill(words_.begin(), words_.end(), 0);
  const std::uint32_t permissions = entry.kind == Kind::kSymlink ? 0777U : entry.permissions;
  large().i_mode = static_cast<std::uint16_t>(type_bits(entry.kind) | permissions);
  large().i_links_count = 1;
  if (has_extra()) {
    large().i_extra_isize = kExtraBytes;
  }
  set_owner(entry);
  set_times(entry);
}

void ExtInode::set_owner(const LayerEntry& entry) {
  large().i_uid = static_cast<std::uint16_t>(entry.uid);
  ext2fs_set_i_uid_high(large(), static_cast<std::uint16_t>(entry.uid >> 16U));
  large().i_gid = static_cast<std::uint16_t>(entry.gid);
  ext2fs_set_i_gid_high(large(), static_cast<std::uint16_t>(entry.gid >> 16U));
}

void ExtInode::set_times(const LayerEntry& entry) {
  std::int64_t seconds = entry.mtime_seconds;
  std::uint32_t nanoseconds = entry.mtime_nanoseconds;
  if (seconds < 0 || seconds > (has_extra() ? kMaxTime : kMaxPlainTime)) {
    seconds = 0;  // as engines do with a time that is out of range
    nanoseconds = 0;
  }
  const auto low = static_cast<std::uint32_t>(seconds);
  large().i_atime = large().i_ctime = large().i_mtime = low;
  if (has_extra()) {
    // The low word counts as signed, so what is above 2038 borrows from the two epoch bits.
    const std::int64_t epoch = (seconds - static_cast<std::int32_t>(low)) >> 32U;
    const auto extra = (nanoseconds << 2U) | (static_cast<std::uint32_t>(epoch) & 3U);
    large().i_atime_extra = large().i_ctime_extra = large().i_mtime_extra = extra;
    large().i_crtime = low;
    large().i_crtime_extra = extra;
  }
}

void ExtInode::set_size(std::uint64_t bytes) {
  large().i_size = static_cast<std::uint32_t>(bytes);
  large().i_size_high = static_cast<std::uint32_t>(bytes >> 32U);
}

std::uint64_t ExtInode::content_bytes() {
  return large().i_size | (std::uint64_t{large().i_size_high} << 32U);
}

void ExtInode::set_extents(const Extents& extents) {
  large().i_flags |= EXT4_EXTENTS_FL;
  auto* const header = reinterpret_cast<ext3_extent_header*>(large().i_block);
  header->eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
  header->eh_max = ext2fs_cpu_to_le16(kInodeExtents);
  if (extents.size() > kInodeExtents) {
    return;  // ExtBlocks::record() adds them
  }
  header->eh_entries = ext2fs_cpu_to_le16(static_cast<std::uint16_t>(extents.size()));
  auto* record = reinterpret_cast<ext3_extent*>(header + 1);
  for (const Extent& extent : extents) {
    record->ee_block = ext2fs_cpu_to_le32(static_cast<std::uint32_t>(extent.logical));
    record->ee_len = ext2fs_cpu_to_le16(static_cast<std::uint16_t>(extent.blocks));
    record->ee_start = ext2fs_cpu_to_le32(static_cast<std::uint32_t>(extent.physical));
    record->ee_start_hi = ext2fs_cpu_to_le16(static_cast<std::uint16_t>(extent.physical >> 32U));
    ++record;
  }
}

void ExtInode::set_target(const std::string& target) {
  set_size(target.size());
  std::memcpy(large().i_block, target.data(), std::min(target.size(), kInodeTargetBytes));
}

/// \source Linux, include/linux/kdev_t.h: old_encode_dev(), new_encode_dev()
void ExtInode::set_device(std::uint32_t major, std::uint32_t minor) {
  if (major < 256 && minor < 256) {
    large().i_block[0] = (major << 8U) | minor;
  } else {
    large().i_block[1] = (minor & 0xFFU) | (major << 8U) | ((minor & ~0xFFU) << 12U);
  }
}

}  // namespace image
