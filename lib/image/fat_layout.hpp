// Where things are in a FAT file system, from its first sector, with every number checked against
// the range that it is in.
// \source Microsoft, FAT32 File System Specification 1.03
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.hpp"
#include "image/block_range.hpp"

namespace image {

enum class FatKind { kFat12, kFat16, kFat32 };

struct FatLayout {
  FatKind kind;
  std::uint64_t size_bytes;  // of the file system
  std::uint32_t cluster_bytes;
  std::uint32_t cluster_count;  // data clusters are 2 .. cluster_count + 1
  std::uint64_t table_offset;   // of the first copy
  std::uint64_t table_bytes;    // of one copy
  unsigned table_copies;
  std::uint64_t root_offset;  // FAT12 and FAT16; of the root directory
  std::uint64_t root_bytes;
  std::uint32_t root_cluster;                // FAT32
  std::uint64_t data_offset;                 // of cluster 2
  std::optional<std::uint64_t> info_offset;  // FAT32: of the sector that has the free count

  /// \error ErrorCode::kDiskImage when it is no FAT, or larger than the range; kLimitExceeded when
  ///   its table is above 64 MiB; kIo
  static base::Result<FatLayout> read(const BlockRange& range);

  [[nodiscard]] std::uint64_t offset_of(std::uint32_t cluster) const {
    return data_offset + std::uint64_t{cluster - 2} * cluster_bytes;
  }
  [[nodiscard]] bool has_cluster(std::uint32_t cluster) const {
    return cluster >= 2 && cluster - 2 < cluster_count;
  }
};

}  // namespace image
