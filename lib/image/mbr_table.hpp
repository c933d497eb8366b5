// The MBR and the chain of extended boot records (EBR) behind it, entry by entry, so that they can
// be written back with nothing changed but starts and sizes. By hand, because libfdisk moves no
// EBR. \source UEFI specification 5.2.1 for the layout of an entry
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "image/block_range.hpp"

namespace image {

inline constexpr std::uint32_t kMbrSectorBytes = 512;
inline constexpr std::uint8_t kProtectiveType = 0xEE;  // "everything here belongs to a GPT"

/// Where room is inserted into a disk; what starts or ends behind it moves up. In sectors.
struct Insertion {
  std::uint64_t at;
  std::uint64_t count;

  [[nodiscard]] std::uint64_t start(std::uint64_t sector) const {
    return sector >= at ? sector + count : sector;
  }
  /// \param end the first sector behind something; what ends where the room begins gets the room
  [[nodiscard]] std::uint64_t end(std::uint64_t end) const { return start(end); }
};

/// One entry of 16 bytes: a partition, or an EBR's link to the next EBR. Sectors of 512 bytes.
struct MbrEntry {
  std::uint64_t record;  // sector that the entry is in: 0, or an EBR's
  unsigned slot;         // which one of that sector's four
  std::uint64_t base;    // sector that the entry counts its start from
  std::uint8_t type;
  std::uint64_t start;
  std::uint64_t count;
  unsigned number;  // as Linux counts; 0 for a link

  [[nodiscard]] std::uint64_t end() const { return start + count; }
  [[nodiscard]] bool extended() const { return type == 0x05 || type == 0x0F || type == 0x85; }
};

/// Every entry that is in use; nothing when the first sector is no MBR (the first sector of a file
/// system, for instance, ends like one).
/// \error ErrorCode::kDiskImage: EBRs outside the extended partition, in a loop or too many; kIo
base::Result<std::optional<std::vector<MbrEntry>>> read_mbr(const BlockRange& whole);

/// Writes the starts and sizes that the entries have after the insertion, to where their records
/// are after it; the first sector last.
/// \error ErrorCode::kDiskImage when one does not fit into 32 bits; kNoSpace, kIo
base::Status insert_into_mbr(const BlockRange& whole, const std::vector<MbrEntry>& entries,
                             const Insertion& room);

}  // namespace image
