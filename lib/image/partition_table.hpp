// MBR and GPT partition tables of disk images, read and grown (ADR 6: without libfdisk).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/image_file.hpp"

namespace image {

enum class TableKind { kMbr, kGpt };

struct Partition {
  unsigned number;   // as Linux counts: 1..4 primary, 5.. logical
  std::string name;  // GPT partition name; empty with MBR
  std::uint64_t offset_bytes;
  std::uint64_t size_bytes;
  bool extended = false;  // MBR: holds the logical ones
};

struct PartitionTable {
  TableKind kind;
  std::uint32_t sector_bytes;
  std::vector<Partition> partitions;  // by offset
};

/// \error ErrorCode::kDiskImage: no table, or one whose partitions overlap or leave the image; kIo
base::Result<PartitionTable> read_partition_table(const BlockRange& whole);

/// Makes the partition `number` and the image larger, by at least `more_bytes` (rounded up to the
/// alignment of 4 MiB). What lies behind it moves up with its content, a
/// logical partition's extended one grows with it, GPT's second header goes to the new end.
/// Numbers, names, types, UUIDs and attributes stay.
/// \error ErrorCode::kDiskImage, kNoSpace, kIo
base::Status grow_partition(ImageFile& image, unsigned number, std::uint64_t more_bytes);

}  // namespace image
