#include "image/fat_layout.hpp"

#include <array>
#include <bit>

#include "base/sizes.hpp"
#include "image/little_endian.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::uint64_t kMaxTableBytes = std::uint64_t{64} << 20;
constexpr std::uint32_t kMaxFat12Clusters = 4084;
constexpr std::uint32_t kMaxFat16Clusters = 65'524;
constexpr std::uint32_t kMaxFat32Clusters = 0x0FFFFFF5;
constexpr std::size_t kDirectoryEntryBytes = 32;

using Sector = std::array<std::uint8_t, 512>;

struct Numbers {
  std::uint32_t sector_bytes, cluster_sectors, reserved, copies, root_entries, media;
  std::uint64_t sectors, table_sectors;
};

Numbers read_numbers(const Sector& sector) {
  const auto sectors16 = load_le<std::uint16_t>(sector, 19);
  const auto table16 = load_le<std::uint16_t>(sector, 22);
  return {.sector_bytes = load_le<std::uint16_t>(sector, 11),
          .cluster_sectors = sector[13],
          .reserved = load_le<std::uint16_t>(sector, 14),
          .copies = sector[16],
          .root_entries = load_le<std::uint16_t>(sector, 17),
          .media = sector[21],
          .sectors = sectors16 != 0 ? sectors16 : load_le<std::uint32_t>(sector, 32),
          .table_sectors = table16 != 0 ? table16 : load_le<std::uint32_t>(sector, 36)};
}

bool plausible(const Sector& sector, const Numbers& n) {
  return load_le<std::uint16_t>(sector, 510) == 0xAA55 && n.sector_bytes >= 512 &&
         n.sector_bytes <= 4096 && std::has_single_bit(n.sector_bytes) && n.cluster_sectors != 0 &&
         std::has_single_bit(n.cluster_sectors) && n.reserved != 0 && n.copies >= 1 &&
         n.copies <= 4 && (n.media == 0xF0 || n.media >= 0xF8) && n.table_sectors != 0 &&
         n.sectors != 0;
}

FatKind kind_of(std::uint64_t clusters) {
  if (clusters <= kMaxFat12Clusters) {
    return FatKind::kFat12;
  }
  return clusters <= kMaxFat16Clusters ? FatKind::kFat16 : FatKind::kFat32;
}

std::uint64_t table_bytes_needed(FatKind kind, std::uint64_t clusters) {
  switch (kind) {
    case FatKind::kFat12:
      return ((clusters + 2) * 3 + 1) / 2;
    case FatKind::kFat16:
      return (clusters + 2) * 2;
    case FatKind::kFat32:
      break;
  }
  return (clusters + 2) * 4;
}

Error damaged(const std::string& what) {
  return Error(ErrorCode::kDiskImage, "the FAT file system is damaged: " + what);
}

}  // namespace

Result<FatLayout> FatLayout::read(const BlockRange& range) {
  Sector sector{};
  OU_CHECK(range.read(0, sector));
  const Numbers n = read_numbers(sector);
  if (!plausible(sector, n)) {
    return Error(ErrorCode::kDiskImage, "this is no FAT file system");
  }
  FatLayout layout{};
  layout.size_bytes = n.sectors * n.sector_bytes;
  if (layout.size_bytes > range.size_bytes()) {
    return damaged("it claims " + std::to_string(layout.size_bytes) + " bytes, and there are " +
                   std::to_string(range.size_bytes()));
  }
  layout.cluster_bytes = n.cluster_sectors * n.sector_bytes;
  layout.table_copies = n.copies;
  layout.table_offset = std::uint64_t{n.reserved} * n.sector_bytes;
  layout.table_bytes = n.table_sectors * n.sector_bytes;
  if (layout.table_bytes > kMaxTableBytes) {
    return Error(ErrorCode::kLimitExceeded, "the FAT file system's table is larger than 64 MiB");
  }
  layout.root_offset = layout.table_offset + layout.table_copies * layout.table_bytes;
  layout.root_bytes = base::in_blocks(n.root_entries * kDirectoryEntryBytes, n.sector_bytes);
  layout.data_offset = layout.root_offset + layout.root_bytes;
  if (layout.data_offset >= layout.size_bytes) {
    return damaged("its tables are larger than itself");
  }
  const std::uint64_t clusters = (layout.size_bytes - layout.data_offset) / layout.cluster_bytes;
  // FAT32 says of itself that it has no fixed root directory.
  layout.kind = n.root_entries == 0 ? FatKind::kFat32 : kind_of(clusters);
  if (clusters == 0 || clusters > kMaxFat32Clusters ||
      (layout.kind == FatKind::kFat32) != (n.root_entries == 0) ||
      table_bytes_needed(layout.kind, clusters) > layout.table_bytes) {
    return damaged("its table does not fit the number of its clusters");
  }
  layout.cluster_count = static_cast<std::uint32_t>(clusters);
  if (layout.kind == FatKind::kFat32) {
    layout.root_cluster = load_le<std::uint32_t>(sector, 44);
    const auto info = load_le<std::uint16_t>(sector, 48);
    if (info != 0 && info < n.reserved) {
      layout.info_offset = std::uint64_t{info} * n.sector_bytes;
    }
  }
  return layout;
}

}  // namespace image
