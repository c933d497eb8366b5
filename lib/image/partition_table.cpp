#include "image/partition_table.hpp"

#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/sizes.hpp"
#include "image/gpt_table.hpp"
#include "image/mbr_table.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::uint64_t kAlignmentBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kMaxGrowthBytes = std::uint64_t{1} << 40;
constexpr std::uint64_t kPieceBytes = std::uint64_t{4} << 20;

/// A disk's table in the form that it can be written back from.
struct RawTable {
  std::optional<GptTable> gpt;
  std::vector<MbrEntry> mbr;
};

bool protective(const MbrEntry& entry) {
  return entry.type == kProtectiveType;
}

Result<RawTable> read_raw(const BlockRange& whole) {
  RawTable raw;
  OU_TRY(auto mbr, read_mbr(whole));
  if (!mbr) {
    return Error(ErrorCode::kDiskImage,
                 "there is no partition table: is this a disk image, and all of it?");
  }
  raw.mbr = *std::move(mbr);
  if (std::any_of(raw.mbr.begin(), raw.mbr.end(), protective)) {
    OU_TRY(raw.gpt, GptTable::read(whole));
    if (!raw.gpt) {
      return Error(ErrorCode::kDiskImage, "the GPT partition table is damaged: it has no header");
    }
  }
  return raw;
}

std::string name_of(const Partition& partition) {
  return "partition " + std::to_string(partition.number);
}

Status check_places(const PartitionTable& table, const BlockRange& whole) {
  const Partition* container = nullptr;
  const Partition* before = nullptr;
  for (const Partition& partition : table.partitions) {
    if (partition.offset_bytes == 0 || partition.size_bytes == 0 ||
        !whole.part(partition.offset_bytes, partition.size_bytes)) {
      return Error(ErrorCode::kDiskImage,
                   name_of(partition) +
                       " is not inside the image: the table is damaged, or the "
                       "image is not complete");
    }
    const std::uint64_t end = partition.offset_bytes + partition.size_bytes;
    if (before != nullptr && partition.offset_bytes < before->offset_bytes + before->size_bytes) {
      return Error(ErrorCode::kDiskImage, name_of(*before) + " and " + name_of(partition) +
                                              " overlap: the partition table is damaged");
    }
    const bool logical = table.kind == TableKind::kMbr && partition.number > 4;
    const std::uint64_t container_end =
        container == nullptr ? 0 : container->offset_bytes + container->size_bytes;
    if (logical ? container == nullptr || end > container_end
                : partition.offset_bytes < container_end) {
      return Error(ErrorCode::kDiskImage, name_of(partition) +
                                              " is on the wrong side of the extended partition's "
                                              "border: the partition table is damaged");
    }
    (partition.extended ? container : before) = &partition;
  }
  return base::ok();
}

/// An EBR inside of a partition's content would be overwritten by that.
Status check_records(const std::vector<MbrEntry>& entries) {
  for (const MbrEntry& record : entries) {
    for (const MbrEntry& entry : entries) {
      if (record.record != 0 && entry.number != 0 && !entry.extended() &&
          record.record >= entry.start && record.record < entry.end()) {
        return Error(ErrorCode::kDiskImage, "a logical partition's record is inside partition " +
                                                std::to_string(entry.number) +
                                                ": the partition table is damaged");
      }
    }
  }
  return base::ok();
}

Result<PartitionTable> interpret(const RawTable& raw, const BlockRange& whole) {
  PartitionTable table{raw.gpt ? TableKind::kGpt : TableKind::kMbr, kMbrSectorBytes, {}};
  if (raw.gpt) {
    table.sector_bytes = raw.gpt->sector_bytes();
    const std::uint64_t sectors = whole.size_bytes() / table.sector_bytes;
    for (GptPartition& partition : raw.gpt->partitions()) {
      if (partition.first_sector > partition.last_sector || partition.last_sector >= sectors) {
        return Error(ErrorCode::kDiskImage,
                     "partition " + std::to_string(partition.number) +
                         " is not inside the image: the table is damaged, or the image is not "
                         "complete");
      }
      if (raw.gpt->is_under(partition)) {
        return Error(ErrorCode::kDiskImage, "partition " + std::to_string(partition.number) +
                                                " overlaps the partition table itself");
      }
      const std::uint64_t count = partition.last_sector - partition.first_sector + 1;
      table.partitions.push_back({partition.number, std::move(partition.name),
                                  partition.first_sector * table.sector_bytes,
                                  count * table.sector_bytes});
    }
  } else {
    for (const MbrEntry& entry : raw.mbr) {
      if (entry.number != 0) {
        table.partitions.push_back({entry.number, "", entry.start * kMbrSectorBytes,
                                    entry.count * kMbrSectorBytes, entry.extended()});
      }
    }
  }
  std::stable_sort(
      table.partitions.begin(), table.partitions.end(),
      [](const Partition& a, const Partition& b) { return a.offset_bytes < b.offset_bytes; });
  OU_CHECK(check_places(table, whole));
  OU_CHECK(check_records(raw.mbr));
  return table;
}

/// Makes `size_bytes` at `at` zero, as a hole where the file system can.
Status clear(const BlockRange& whole, std::uint64_t at, std::uint64_t size_bytes) {
  if (::fallocate(whole.fd()->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(at), static_cast<off_t>(size_bytes)) == 0) {
    return base::ok();
  }
  const base::Bytes zeros(static_cast<std::size_t>(std::min(size_bytes, kPieceBytes)));
  while (size_bytes > 0) {
    const std::uint64_t piece = std::min<std::uint64_t>(size_bytes, zeros.size());
    OU_CHECK(whole.write(at, base::ByteView(zeros).first(static_cast<std::size_t>(piece))));
    at += piece;
    size_bytes -= piece;
  }
  return base::ok();
}

/// Moves what is between `from` and `end` up by `distance`, last piece first: the places overlap.
Status move_up(const BlockRange& whole, std::uint64_t from, std::uint64_t end,
               std::uint64_t distance) {
  base::Bytes buffer(static_cast<std::size_t>(kPieceBytes));
  for (std::uint64_t at = end; at > from;) {
    const std::uint64_t size_bytes = std::min(kPieceBytes, at - from);
    at -= size_bytes;
    const auto piece = std::span(buffer).first(static_cast<std::size_t>(size_bytes));
    OU_CHECK(whole.read(at, piece));
    const bool zero =
        std::all_of(piece.begin(), piece.end(), [](std::uint8_t byte) { return byte == 0; });
    OU_CHECK(zero ? clear(whole, at + distance, size_bytes) : whole.write(at + distance, piece));
  }
  return base::ok();
}

Status check_growable(const PartitionTable& table, const RawTable& raw,
                      const Partition& partition) {
  if (partition.extended) {
    return Error(ErrorCode::kDiskImage,
                 "an extended partition grows only with a logical one that is in it");
  }
  if (raw.gpt && raw.mbr.size() > 1) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the image has a GPT and an MBR partition table that both name partitions: one "
                 "with a GPT alone can be made larger");
  }
  const std::uint64_t end = partition.offset_bytes + partition.size_bytes;
  if (table.kind == TableKind::kMbr && end % kMbrSectorBytes != 0) {
    return Error(ErrorCode::kInternal, "a partition ends inside a sector");
  }
  return base::ok();
}

}  // namespace

Result<PartitionTable> read_partition_table(const BlockRange& whole) {
  OU_TRY(const RawTable raw, read_raw(whole));
  return interpret(raw, whole);
}

Status grow_partition(ImageFile& image, unsigned number, std::uint64_t more_bytes) {
  OU_TRY(const RawTable raw, read_raw(image.whole()));
  OU_TRY(const PartitionTable table, interpret(raw, image.whole()));
  const auto partition =
      std::find_if(table.partitions.begin(), table.partitions.end(),
                   [number](const Partition& one) { return one.number == number; });
  if (partition == table.partitions.end()) {
    return Error(ErrorCode::kDiskImage, "there is no partition " + std::to_string(number));
  }
  OU_CHECK(check_growable(table, raw, *partition));
  if (more_bytes == 0 || more_bytes > kMaxGrowthBytes) {
    return more_bytes == 0 ? base::ok()
                           : Status(Error(ErrorCode::kLimitExceeded,
                                          "a partition grows by at most 1 TiB at a time"));
  }
  const std::uint64_t distance = base::in_blocks(more_bytes, kAlignmentBytes);
  const std::uint64_t end = partition->offset_bytes + partition->size_bytes;
  const std::uint64_t old_size = image.whole().size_bytes();
  const Insertion room{end / table.sector_bytes, distance / table.sector_bytes};
  const std::uint64_t needed = raw.gpt ? raw.gpt->size_after(image.whole(), room) : 0;
  OU_CHECK(image.grow_to(std::max(old_size + distance, needed)));
  OU_CHECK(move_up(image.whole(), end, old_size, distance));
  OU_CHECK(clear(image.whole(), end, distance));
  return raw.gpt ? raw.gpt->insert(image.whole(), room)
                 : insert_into_mbr(image.whole(), raw.mbr, room);
}

}  // namespace image
