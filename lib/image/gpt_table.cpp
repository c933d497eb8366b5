#include "image/gpt_table.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "base/sizes.hpp"
#include "image/little_endian.hpp"
#include "image/utf16.hpp"

namespace image {
namespace {

using base::Bytes;
using base::ByteView;
using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::string_view kSignature = "EFI PART";
constexpr std::uint32_t kHeaderBytes = 92;
constexpr std::uint32_t kEntryBytes = 128;
constexpr std::uint32_t kMaxEntries = 1024;  // every tool makes 128
// In a header.
constexpr std::size_t kHeaderSizeAt = 12;
constexpr std::size_t kHeaderChecksumAt = 16;
constexpr std::size_t kOwnSectorAt = 24;
constexpr std::size_t kOtherSectorAt = 32;
constexpr std::size_t kLastUsableAt = 48;
constexpr std::size_t kEntriesSectorAt = 72;
constexpr std::size_t kEntryCountAt = 80;
constexpr std::size_t kEntrySizeAt = 84;
constexpr std::size_t kEntriesChecksumAt = 88;
// In an entry: type, UUID, then these.
constexpr std::size_t kFirstSectorAt = 32;
constexpr std::size_t kLastSectorAt = 40;
constexpr std::size_t kNameAt = 56;
// In the protective MBR.
constexpr std::uint64_t kMbrEntriesAt = 446;

std::uint32_t checksum(ByteView bytes) {
  return static_cast<std::uint32_t>(
      ::crc32(::crc32(0, nullptr, 0), bytes.data(), static_cast<uInt>(bytes.size())));
}

std::uint32_t header_checksum(ByteView header) {
  Bytes copy(header.begin(), header.begin() + kHeaderBytes);
  store_le<std::uint32_t>(copy, kHeaderChecksumAt, 0);
  return checksum(copy);
}

Error damaged(const std::string& what) {
  return Error(ErrorCode::kDiskImage, "the GPT partition table is damaged: " + what);
}

bool is_used(ByteView entry) {
  return std::any_of(entry.begin(), entry.begin() + 16, [](std::uint8_t b) { return b != 0; });
}

/// The header of a disk with sectors of this size; empty when there is none.
Result<Bytes> read_header(const BlockRange& whole, std::uint32_t sector_bytes) {
  Bytes header(sector_bytes);
  if (whole.size_bytes() < 3ULL * sector_bytes) {
    return Bytes();
  }
  OU_CHECK(whole.read(sector_bytes, header));
  return std::equal(kSignature.begin(), kSignature.end(), header.begin()) ? header : Bytes();
}

Status check_header(ByteView header) {
  if (load_le<std::uint32_t>(header, kHeaderSizeAt) != kHeaderBytes ||
      load_le<std::uint32_t>(header, kHeaderChecksumAt) != header_checksum(header)) {
    return damaged("its header does not have the checksum that it should have");
  }
  const auto count = load_le<std::uint32_t>(header, kEntryCountAt);
  if (load_le<std::uint32_t>(header, kEntrySizeAt) != kEntryBytes || count == 0 ||
      count > kMaxEntries) {
    return damaged("it claims " + std::to_string(count) + " entries of " +
                   std::to_string(load_le<std::uint32_t>(header, kEntrySizeAt)) + " bytes");
  }
  if (load_le<std::uint64_t>(header, kOwnSectorAt) != 1) {
    return damaged("its header is in the wrong place");
  }
  return base::ok();
}

Status write_copy(const BlockRange& whole, Bytes header, ByteView entries, std::uint64_t own,
                  std::uint64_t entries_sector) {
  const std::size_t sector_bytes = header.size();
  const std::uint64_t last = whole.size_bytes() / sector_bytes - 1;
  const std::uint64_t table = base::in_blocks(entries.size(), sector_bytes) / sector_bytes;
  store_le<std::uint64_t>(header, kOwnSectorAt, own);
  store_le<std::uint64_t>(header, kOtherSectorAt, own == 1 ? last : 1);
  store_le<std::uint64_t>(header, kLastUsableAt, last - table - 1);
  store_le<std::uint64_t>(header, kEntriesSectorAt, entries_sector);
  store_le<std::uint32_t>(header, kEntriesChecksumAt, checksum(entries));
  store_le<std::uint32_t>(header, kHeaderChecksumAt, header_checksum(header));
  OU_CHECK(whole.write(entries_sector * sector_bytes, entries));
  return whole.write(own * sector_bytes, header);
}

/// The entry of type 0xEE covers the whole disk, as far as 32 bits can tell.
Status write_protective_size(const BlockRange& whole, std::uint32_t sector_bytes) {
  const std::uint64_t sectors = whole.size_bytes() / sector_bytes - 1;
  for (std::uint64_t slot = 0; slot < 4; ++slot) {
    std::array<std::uint8_t, 16> entry{};
    OU_CHECK(whole.read(kMbrEntriesAt + slot * entry.size(), entry));
    if (entry[4] == kProtectiveType) {
      store_le<std::uint32_t>(
          entry, 12, static_cast<std::uint32_t>(std::min<std::uint64_t>(sectors, UINT32_MAX)));
      OU_CHECK(whole.write(kMbrEntriesAt + slot * entry.size(), entry));
    }
  }
  return base::ok();
}

}  // namespace

Result<std::optional<GptTable>> GptTable::read(const BlockRange& whole) {
  for (const std::uint32_t sector_bytes : {512U, 4096U}) {
    OU_TRY(Bytes header, read_header(whole, sector_bytes));
    if (header.empty()) {
      continue;
    }
    OU_CHECK(check_header(header));
    Bytes entries(std::size_t{load_le<std::uint32_t>(header, kEntryCountAt)} * kEntryBytes);
    const auto at = load_le<std::uint64_t>(header, kEntriesSectorAt);
    if (at < 2 || at > whole.size_bytes() / sector_bytes) {
      return damaged("its entries are outside the image");
    }
    OU_CHECK(whole.read(at * sector_bytes, entries).within("read the partition table"));
    if (load_le<std::uint32_t>(header, kEntriesChecksumAt) != checksum(entries)) {
      return damaged("its entries do not have the checksum that they should have");
    }
    return std::optional(GptTable(sector_bytes, std::move(header), std::move(entries)));
  }
  return std::optional<GptTable>();
}

std::vector<GptPartition> GptTable::partitions() const {
  std::vector<GptPartition> partitions;
  for (std::size_t i = 0; i < entries_.size() / kEntryBytes; ++i) {
    const ByteView entry = ByteView(entries_).subspan(i * kEntryBytes, kEntryBytes);
    if (is_used(entry)) {
      partitions.push_back({static_cast<unsigned>(i + 1), from_utf16(entry.subspan(kNameAt)),
                            load_le<std::uint64_t>(entry, kFirstSectorAt),
                            load_le<std::uint64_t>(entry, kLastSectorAt)});
    }
  }
  return partitions;
}

std::uint64_t GptTable::entries_sectors() const {
  return base::in_blocks(entries_.size(), sector_bytes_) / sector_bytes_;
}

bool GptTable::is_under(const GptPartition& partition) const {
  const auto entries = load_le<std::uint64_t>(header_, kEntriesSectorAt);
  return partition.first_sector < 2 ||
         (partition.first_sector < entries + entries_sectors() && partition.last_sector >= entries);
}

std::uint64_t GptTable::size_after(const BlockRange& whole, const Insertion& room) const {
  std::uint64_t sectors = whole.size_bytes() / sector_bytes_ + room.count;
  for (const GptPartition& partition : partitions()) {
    // Behind the last partition: the second copy's entries and its header.
    sectors = std::max(sectors, room.end(partition.last_sector + 1) + entries_sectors() + 1);
  }
  return sectors * sector_bytes_;
}

Status GptTable::insert(const BlockRange& whole, const Insertion& room) const {
  Bytes entries = entries_;
  for (std::size_t i = 0; i < entries.size() / kEntryBytes; ++i) {
    const auto entry = std::span(entries).subspan(i * kEntryBytes, kEntryBytes);
    if (is_used(entry)) {
      store_le(entry, kFirstSectorAt, room.start(load_le<std::uint64_t>(entry, kFirstSectorAt)));
      store_le(entry, kLastSectorAt,
               room.end(load_le<std::uint64_t>(entry, kLastSectorAt) + 1) - 1);
    }
  }
  const std::uint64_t last = whole.size_bytes() / sector_bytes_ - 1;
  OU_CHECK(write_copy(whole, header_, entries, last, last - entries_sectors()));
  OU_CHECK(
      write_copy(whole, header_, entries, 1, load_le<std::uint64_t>(header_, kEntriesSectorAt)));
  return write_protective_size(whole, sector_bytes_);
}

}  // namespace image
