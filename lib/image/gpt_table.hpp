// A GUID partition table: checked to its checksums, and written back with nothing changed but
// starts, ends and the place of its second copy. By hand, because libfdisk believes the sizes that
// a second header claims and reads up to 4 GiB for it. \source UEFI specification 5.3
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/block_range.hpp"
#include "image/mbr_table.hpp"

namespace image {

struct GptPartition {
  unsigned number;
  std::string name;  // hostile
  std::uint64_t first_sector;
  std::uint64_t last_sector;
};

class GptTable {
 public:
  /// Nothing when there is none, with sectors of 512 or of 4096 bytes.
  /// \error ErrorCode::kDiskImage when the first copy is damaged or is of a size that no tool
  ///   makes; kIo
  static base::Result<std::optional<GptTable>> read(const BlockRange& whole);

  [[nodiscard]] std::uint32_t sector_bytes() const { return sector_bytes_; }
  [[nodiscard]] std::vector<GptPartition> partitions() const;

  /// Whether a partition lies over the table that names it.
  [[nodiscard]] bool is_under(const GptPartition& partition) const;

  /// How large the disk has to be after the insertion: what is behind the last partition stays
  /// free, and the second copy fits.
  [[nodiscard]] std::uint64_t size_after(const BlockRange& whole, const Insertion& room) const;
  /// Writes both copies, the second one to the end of `whole`, and the protective MBR's size.
  /// \pre whole.size_bytes() is at least size_after() \error ErrorCode::kNoSpace, kIo
  base::Status insert(const BlockRange& whole, const Insertion& room) const;

 private:
  GptTable(std::uint32_t sector_bytes, base::Bytes header, base::Bytes entries)
      : sector_bytes_(sector_bytes), header_(std::move(header)), entries_(std::move(entries)) {}
  [[nodiscard]] std::uint64_t entries_sectors() const;

  std::uint32_t sector_bytes_;
  base::Bytes header_;   // one sector
  base::Bytes entries_;  // what its checksum covers
};

}  // namespace image
