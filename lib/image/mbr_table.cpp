#include "image/mbr_table.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "image/little_endian.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::size_t kFirstEntry = 446;
constexpr std::size_t kEntryBytes = 16;
constexpr std::size_t kSignatureAt = 510;
constexpr std::uint16_t kSignature = 0xAA55;
constexpr unsigned kFirstLogical = 5;
constexpr unsigned kMaxLogical = 60;

using Sector = std::array<std::uint8_t, kMbrSectorBytes>;

Result<Sector> read_sector(const BlockRange& whole, std::uint64_t number) {
  Sector sector{};
  OU_CHECK(whole.read(number * kMbrSectorBytes, sector));
  return sector;
}

bool is_signed(const Sector& sector) {
  return load_le<std::uint16_t>(sector, kSignatureAt) == kSignature;
}

MbrEntry entry_at(const Sector& sector, std::uint64_t record, unsigned slot, std::uint64_t base) {
  const base::ByteView raw =
      base::ByteView(sector).subspan(kFirstEntry + slot * kEntryBytes, kEntryBytes);
  return {.record = record,
          .slot = slot,
          .base = base,
          .type = raw[4],
          .start = base + load_le<std::uint32_t>(raw, 8),
          .count = load_le<std::uint32_t>(raw, 12),
          .number = 0};
}

bool in_use(const MbrEntry& entry) {
  return entry.type != 0 && entry.count != 0;
}

/// Boot code in the place of the table is told from a table by its boot flags.
bool has_table(const Sector& sector) {
  bool plausible = is_signed(sector);
  bool any = false;
  for (unsigned slot = 0; slot < 4; ++slot) {
    const std::uint8_t flag = sector[kFirstEntry + slot * kEntryBytes];
    plausible = plausible && (flag == 0 || flag == 0x80);
    any = any || in_use(entry_at(sector, 0, slot, 0));
  }
  return plausible && any;
}

/// Follows the chain of EBRs through the extended partition.
Status read_chain(const BlockRange& whole, const MbrEntry& extended,
                  std::vector<MbrEntry>& entries) {
  std::set<std::uint64_t> seen;
  unsigned number = kFirstLogical;
  for (std::uint64_t record = extended.start;;) {
    if (record < extended.start || record >= extended.end()) {
      return Error(ErrorCode::kDiskImage,
                   "a logical partition's record is outside the extended "
                   "partition: the partition table is damaged");
    }
    if (!seen.insert(record).second || seen.size() > kMaxLogical) {
      return Error(ErrorCode::kDiskImage,
                   "the logical partitions' records form a loop, or are more "
                   "than " +
                       std::to_string(kMaxLogical) + ": the partition table is damaged");
    }
    OU_TRY(const Sector sector, read_sector(whole, record));
    if (!is_signed(sector)) {
      return Error(ErrorCode::kDiskImage, "the record of logical partition " +
                                              std::to_string(number) + " is damaged or missing");
    }
    MbrEntry partition = entry_at(sector, record, 0, record);
    const MbrEntry link = entry_at(sector, record, 1, extended.start);
    if (in_use(partition)) {
      partition.number = number++;
      entries.push_back(partition);
    }
    if (!in_use(link)) {
      return base::ok();
    }
    entries.push_back(link);
    record = link.start;
  }
}

/// Cylinder, head and sector as programs write them that still do: 255 heads, 63 sectors.
void store_chs(std::span<std::uint8_t> raw, std::size_t at, std::uint64_t sector) {
  const std::uint64_t cylinder = sector / (std::uint64_t{255} * 63);
  const bool fits = cylinder < 1024;
  const std::uint64_t c = fits ? cylinder : 1023;
  raw[at] = static_cast<std::uint8_t>(fits ? sector / 63 % 255 : 254);
  raw[at + 1] = static_cast<std::uint8_t>((fits ? sector % 63 + 1 : 63) | (c >> 8U) << 6U);
  raw[at + 2] = static_cast<std::uint8_t>(c);
}

Status insert_into_entry(const BlockRange& whole, const MbrEntry& entry, const Insertion& room) {
  const std::uint64_t start = room.start(entry.start);
  const std::uint64_t count = room.end(entry.end()) - start;
  const std::uint64_t offset = start - room.start(entry.base);
  if (offset > UINT32_MAX || count > UINT32_MAX) {
    return Error(ErrorCode::kDiskImage,
                 "the image would be larger than an MBR partition table can tell (2 TiB)");
  }
  if (start == entry.start && count == entry.count && start - offset == entry.base) {
    return base::ok();
  }
  std::array<std::uint8_t, kEntryBytes> raw{};
  const std::uint64_t at = room.start(entry.record) * kMbrSectorBytes + kFirstEntry +
                           std::uint64_t{entry.slot} * kEntryBytes;
  OU_CHECK(whole.read(at, raw));
  store_chs(raw, 1, start);
  store_chs(raw, 5, start + count - 1);
  store_le<std::uint32_t>(raw, 8, static_cast<std::uint32_t>(offset));
  store_le<std::uint32_t>(raw, 12, static_cast<std::uint32_t>(count));
  return whole.write(at, raw);
}

}  // namespace

Result<std::optional<std::vector<MbrEntry>>> read_mbr(const BlockRange& whole) {
  std::optional<std::vector<MbrEntry>> none;
  if (whole.size_bytes() < kMbrSectorBytes) {
    return none;
  }
  OU_TRY(const Sector sector, read_sector(whole, 0));
  if (!has_table(sector)) {
    return none;
  }
  std::vector<MbrEntry> entries;
  for (unsigned slot = 0; slot < 4; ++slot) {
    MbrEntry entry = entry_at(sector, 0, slot, 0);
    entry.number = slot + 1;
    if (in_use(entry)) {
      entries.push_back(entry);
    }
  }
  const auto extended = std::find_if(entries.begin(), entries.end(),
                                     [](const MbrEntry& entry) { return entry.extended(); });
  if (extended != entries.end()) {
    const MbrEntry container = *extended;
    if (std::count_if(entries.begin(), entries.end(),
                      [](const MbrEntry& entry) { return entry.extended(); }) > 1) {
      return Error(ErrorCode::kDiskImage, "the partition table has two extended partitions");
    }
    OU_CHECK(read_chain(whole, container, entries));
  }
  return std::optional(std::move(entries));
}

Status insert_into_mbr(const BlockRange& whole, const std::vector<MbrEntry>& entries,
                       const Insertion& room) {
  for (const bool first_sector : {false, true}) {
    for (const MbrEntry& entry : entries) {
      if ((entry.record == 0) == first_sector) {
        OU_CHECK(insert_into_entry(whole, entry, room));
      }
    }
  }
  return base::ok();
}

}  // namespace image
