// Partition tables made by sfdisk, read and grown; and tables that somebody has made hostile.
#include "image/partition_table.hpp"

#include <zlib.h>

#include <array>
#include <catch2/catch.hpp>
#include <map>

#include "disk_images.hpp"
#include "image/little_endian.hpp"

namespace {

using base::ErrorCode;
using image::Partition;
using image::PartitionTable;
using image::TableKind;
using support::DiskImage;
using support::kMiB;

using Contents = std::map<unsigned, std::string>;

/// Every partition's bytes, by number.
Contents contents(const DiskImage& disk, const PartitionTable& table) {
  Contents all;
  for (const Partition& partition : table.partitions) {
    if (!partition.extended) {
      all[partition.number] = disk.read_at(partition.offset_bytes, partition.size_bytes);
    }
  }
  return all;
}

/// The lines of sfdisk's dump with only what growth may not change: the disk's ID, and for each
/// partition type, UUID, name, attributes and boot flag.
std::string unchanging(const std::string& dump) {
  std::string kept;
  std::size_t at = 0;
  while (at < dump.size()) {
    const std::size_t end = std::min(dump.find('\n', at), dump.size());
    std::string line = dump.substr(at, end - at);
    at = end + 1;
    if (const auto type = line.find("type="); type != std::string::npos) {
      line.erase(line.find("start="), type - line.find("start="));
    }
    kept += line.starts_with("last-lba") ? "" : line + "\n";
  }
  return kept;
}

void check_growth(DiskImage::Kind kind, unsigned number) {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", kind);
  const std::uint64_t size_before = std::filesystem::file_size(disk.path());
  const std::string dump_before = disk.table();
  auto file = disk.file();
  const auto before = image::read_partition_table(file.whole());
  REQUIRE(before);
  const Contents content_before = contents(disk, *before);

  REQUIRE(image::grow_partition(file, number, 5 * kMiB));

  CHECK(disk.faults().empty());
  CHECK(unchanging(disk.table()) == unchanging(dump_before));
  CHECK(std::filesystem::file_size(disk.path()) == size_before + 8 * kMiB);
  CHECK(file.whole().size_bytes() == size_before + 8 * kMiB);
  const auto after = image::read_partition_table(file.whole());
  REQUIRE(after);
  REQUIRE(after->partitions.size() == before->partitions.size());
  bool behind = false;
  for (std::size_t i = 0; i < before->partitions.size(); ++i) {
    const Partition& old_part = before->partitions[i];
    const Partition& new_part = after->partitions[i];
    CAPTURE(old_part.number);
    CHECK(new_part.number == old_part.number);
    CHECK(new_part.offset_bytes == old_part.offset_bytes + (behind ? 8 * kMiB : 0));
    const bool holds = old_part.extended && number > 4;
    CHECK(new_part.size_bytes ==
          old_part.size_bytes + (old_part.number == number || holds ? 8 * kMiB : 0));
    behind = behind || old_part.number == number;
  }
  const Contents content_after = contents(disk, *after);
  for (const auto& [id, bytes] : content_before) {
    CAPTURE(id);
    CHECK(content_after.at(id).substr(0, bytes.size()) == bytes);
    if (id == number) {
      CHECK(content_after.at(id).find_first_not_of('\0', bytes.size()) == std::string::npos);
    }
  }
}

void check_refused(const DiskImage& disk, const std::string& what) {
  const auto table = image::read_partition_table(disk.file().whole());
  REQUIRE_FALSE(table);
  CHECK(table.error().code() == ErrorCode::kDiskImage);
  CHECK_THAT(table.error().message(), Catch::Contains(what));
}

std::string le32(std::uint32_t value) {
  std::array<std::uint8_t, 4> bytes{};
  image::store_le(bytes, 0, value);
  return std::string(base::as_text(bytes));
}

/// Another first sector for the first partition, with right checksums.
void rewrite_entry(const DiskImage& disk, std::uint32_t first_sector) {
  disk.write_at(1024 + 32, le32(first_sector));
  const auto checksum = [&disk](std::uint64_t at, std::uint64_t size) {
    const std::string bytes = disk.read_at(at, size);
    const base::ByteView view = base::as_bytes(bytes);
    return le32(
        static_cast<std::uint32_t>(::crc32(0, view.data(), static_cast<uInt>(view.size()))));
  };
  disk.write_at(512 + 88, checksum(1024, 128 * 128));
  disk.write_at(512 + 16, le32(0));
  disk.write_at(512 + 16, checksum(512, 92));
}

constexpr std::uint64_t kFirstEbr = 60 * kMiB;
constexpr std::uint64_t kEntry = 446;
constexpr std::uint64_t kLink = kEntry + 16;

}  // namespace

TEST_CASE("partition table: an MBR is read with numbers as Linux gives them") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kMbr);
  const auto table = image::read_partition_table(disk.file().whole());
  REQUIRE(table);
  CHECK(table->kind == TableKind::kMbr);
  REQUIRE(table->partitions.size() == 6);
  CHECK(table->partitions[3].number == 4);
  CHECK(table->partitions[3].extended);
  CHECK(table->partitions[3].offset_bytes == kFirstEbr);
  std::size_t found = 0;
  for (const support::DiskPart& part : disk.parts()) {
    for (const Partition& partition : table->partitions) {
      if (partition.number == part.number) {
        ++found;
        CHECK(partition.offset_bytes == part.offset_mib * kMiB);
        CHECK(partition.size_bytes == part.size_mib * kMiB);
      }
    }
  }
  CHECK(found == 5);
}

TEST_CASE("partition table: a GPT is read with its names") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kGpt);
  const auto table = image::read_partition_table(disk.file().whole());
  REQUIRE(table);
  CHECK(table->kind == TableKind::kGpt);
  CHECK(table->sector_bytes == 512);
  REQUIRE(table->partitions.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(table->partitions[i].number == i + 1);
    CHECK(table->partitions[i].name == "resin-" + disk.parts()[i].name);
    CHECK(table->partitions[i].offset_bytes == disk.parts()[i].offset_mib * kMiB);
  }
}

TEST_CASE("partition table: growing moves what lies behind, and changes nothing else") {
  SECTION("MBR, a primary partition in front of the extended one") {
    check_growth(DiskImage::Kind::kMbr, 2);
  }
  SECTION("MBR, the first logical partition") {
    check_growth(DiskImage::Kind::kMbr, 5);
  }
  SECTION("MBR, the last partition") {
    check_growth(DiskImage::Kind::kMbr, 6);
  }
  SECTION("GPT, a partition in the middle") {
    check_growth(DiskImage::Kind::kGpt, 2);
  }
  SECTION("GPT, the last partition") {
    check_growth(DiskImage::Kind::kGpt, 5);
  }
}

TEST_CASE("partition table: a GPT grows where the image has no room for a second header") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kGpt);
  std::filesystem::resize_file(disk.path(), 92 * kMiB);  // just behind the last partition
  auto file = disk.file();
  REQUIRE(image::grow_partition(file, 5, 1));
  CHECK(disk.faults().empty());
  CHECK(image::read_partition_table(file.whole())->partitions[4].size_bytes == 20 * kMiB);
}

TEST_CASE("partition table: what cannot grow is refused and nothing is changed") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kMbr);
  const std::string before = disk.table();
  auto file = disk.file();
  CHECK(image::grow_partition(file, 4, kMiB).error().code() == ErrorCode::kDiskImage);
  CHECK(image::grow_partition(file, 7, kMiB).error().code() == ErrorCode::kDiskImage);
  CHECK(image::grow_partition(file, 2, std::uint64_t{1} << 60).error().code() ==
        ErrorCode::kLimitExceeded);
  CHECK(disk.table() == before);
}

TEST_CASE("partition table: a file without a table, or cut off, is an error that says so") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kMbr);
  SECTION("nothing but zeros") {
    disk.write_at(0, std::string(512, '\0'));
    check_refused(disk, "no partition table");
  }
  SECTION("a file system where the table should be") {
    disk.write_at(0, disk.read_at(4 * kMiB, 512));
    check_refused(disk, "no partition table");
  }
  SECTION("cut off") {
    std::filesystem::resize_file(disk.path(), 90 * kMiB);
    check_refused(disk, "not inside the image");
  }
  SECTION("empty") {
    std::filesystem::resize_file(disk.path(), 0);
    check_refused(disk, "no partition table");
  }
}

TEST_CASE("partition table: a hostile MBR is refused") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kMbr);
  SECTION("partitions overlap") {
    disk.write_at(kEntry + 16 + 8, le32(10 * 2048));  // the second starts inside the first
    check_refused(disk, "overlap");
  }
  SECTION("a partition reaches the end of all numbers") {
    disk.write_at(kEntry + 16 + 12, le32(0xFFFFFFFF));
    check_refused(disk, "not inside the image");
  }
  SECTION("a primary partition inside the extended one") {
    disk.write_at(kEntry + 32 + 8, le32(73 * 2048));  // the third: between state and data
    disk.write_at(kEntry + 32 + 12, le32(2048));
    check_refused(disk, "wrong side");
  }
  SECTION("records in a loop") {
    disk.write_at(kFirstEbr + kLink + 8, le32(0));
    check_refused(disk, "loop");
  }
  SECTION("a record outside of the extended partition") {
    disk.write_at(kFirstEbr + kLink + 8, le32(40 * 2048));
    check_refused(disk, "outside the extended");
  }
  SECTION("a record inside a partition") {
    const std::string link = disk.read_at(kFirstEbr + kLink + 8, 4);
    const auto second = image::load_le<std::uint32_t>(base::as_bytes(link), 0);
    disk.write_at(72 * kMiB - 512, disk.read_at(kFirstEbr + second * 512ULL, 512));
    disk.write_at(kFirstEbr + kLink + 8, le32(12 * 2048 - 1));
    check_refused(disk, "inside partition 5");
  }
  SECTION("a record that is none") {
    disk.write_at(kFirstEbr + 510, std::string(2, '\0'));
    check_refused(disk, "damaged or missing");
  }
}

TEST_CASE("partition table: a hostile GPT is refused") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kGpt);
  SECTION("a header that was changed") {
    disk.write_at(512 + 48, le32(1));
    check_refused(disk, "checksum");
  }
  SECTION("entries that were changed") {
    disk.write_at(1024 + 32, le32(1));
    check_refused(disk, "checksum");
  }
  SECTION("a partition over the table itself") {
    rewrite_entry(disk, 33);
    check_refused(disk, "the partition table itself");
  }
  SECTION("a partition that starts behind its end") {
    rewrite_entry(disk, 0x7FFFFFFF);
    check_refused(disk, "not inside the image");
  }
  SECTION("no header") {
    disk.write_at(512, std::string(512, '\0'));
    check_refused(disk, "no header");
  }
  SECTION("cut off") {
    std::filesystem::resize_file(disk.path(), 80 * kMiB);
    check_refused(disk, "not inside the image");
  }
}
