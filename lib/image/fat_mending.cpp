#include "image/fat_mending.hpp"

#include <array>

#include "image/fat_reader.hpp"
#include "image/little_endian.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

// The sector with the free count, "FSInfo".
constexpr std::size_t kInfoBytes = 512;
constexpr std::uint32_t kLeadSignature = 0x41615252;
constexpr std::size_t kSecondSignatureAt = 484;
constexpr std::uint32_t kSecondSignature = 0x61417272;
constexpr std::size_t kFreeCountAt = 488;

using Info = std::array<std::uint8_t, kInfoBytes>;

/// Nothing when there is no such sector, or it does not look like one.
Result<std::optional<Info>> read_info(const BlockRange& volume, const FatLayout& layout) {
  if (!layout.info_offset) {
    return std::optional<Info>();
  }
  Info info{};
  OU_CHECK(volume.read(*layout.info_offset, info));
  const bool valid = load_le<std::uint32_t>(info, 0) == kLeadSignature &&
                     load_le<std::uint32_t>(info, kSecondSignatureAt) == kSecondSignature;
  return valid ? std::optional(info) : std::nullopt;
}

Result<base::Bytes> read_table(const BlockRange& volume, const FatLayout& layout, unsigned copy) {
  base::Bytes table(layout.table_bytes);
  OU_CHECK(volume.read(layout.table_offset + copy * layout.table_bytes, table));
  return table;
}

}  // namespace

Status mend_fat(const BlockRange& volume) {
  OU_TRY(const FatReader reader, FatReader::open(volume));
  const FatLayout& layout = reader.layout();
  OU_TRY(const base::Bytes first, read_table(volume, layout, 0));
  for (unsigned copy = 1; copy < layout.table_copies; ++copy) {
    OU_CHECK(volume.write(layout.table_offset + copy * layout.table_bytes, first));
  }
  OU_TRY(auto info, read_info(volume, layout));
  if (info) {
    store_le<std::uint32_t>(*info, kFreeCountAt, reader.free_clusters());
    OU_CHECK(volume.write(*layout.info_offset, *info));
  }
  return base::ok();
}

Status check_fat(const BlockRange& volume) {
  OU_TRY(const FatReader reader, FatReader::open(volume));
  OU_CHECK(reader.check());
  const FatLayout& layout = reader.layout();
  OU_TRY(const base::Bytes first, read_table(volume, layout, 0));
  for (unsigned copy = 1; copy < layout.table_copies; ++copy) {
    OU_TRY(const base::Bytes other, read_table(volume, layout, copy));
    if (other != first) {
      return Error(ErrorCode::kDiskImage, "the copies of the FAT file system's table differ");
    }
  }
  OU_TRY(const auto info, read_info(volume, layout));
  if (info && load_le<std::uint32_t>(*info, kFreeCountAt) != reader.free_clusters()) {
    return Error(ErrorCode::kDiskImage, "the FAT file system's free count is wrong");
  }
  return base::ok();
}

}  // namespace image
