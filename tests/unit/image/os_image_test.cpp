// Which partition is what, in images as balenaOS builds them and in some that it does not.
#include "image/os_image.hpp"

#include <catch2/catch.hpp>

#include "disk_images.hpp"

namespace {

using base::ErrorCode;
using image::OsImage;
using image::PartRole;
using support::DiskImage;
using support::kMiB;

void check_roles(const DiskImage& disk, const OsImage& image) {
  const std::vector<PartRole> roles{PartRole::kBoot, PartRole::kRootA, PartRole::kRootB,
                                    PartRole::kState, PartRole::kData};
  for (std::size_t i = 0; i < roles.size(); ++i) {
    CAPTURE(disk.parts()[i].name);
    const auto range = image.range_of(roles[i]);
    REQUIRE(range);
    CHECK(range->offset_bytes() == disk.parts()[i].offset_mib * kMiB);
    CHECK(range->size_bytes() == disk.parts()[i].size_mib * kMiB);
    CHECK(image.part_of(roles[i])->file_system == (i == 0 ? "vfat" : "ext4"));
  }
}

void label_boot(const DiskImage& disk, const std::string& label) {
  support::must_run({"mlabel", "-i", disk.mtools_name(), "::" + label});
}

}  // namespace

TEST_CASE("OS image: roles come from labels with an MBR, and from names with a GPT") {
  const support::Scratch scratch;
  for (const auto kind : {DiskImage::Kind::kMbr, DiskImage::Kind::kGpt}) {
    for (const std::string prefix : {"resin-", "balena-", "flash-"}) {
      // A FAT label has eleven characters: "balena-boot" just fits.
      const DiskImage disk(scratch / "disk.img", kind, prefix);
      const auto opened = OsImage::open(disk.file());
      REQUIRE(opened);
      check_roles(disk, *opened);
      CHECK(opened->flasher() == (prefix == "flash-"));
      CHECK(opened->parts().size() == (kind == DiskImage::Kind::kMbr ? 6 : 5));
    }
  }
}

TEST_CASE("OS image: a boot partition without a name is known by its device-type.json") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kMbr);
  label_boot(disk, "OTHER");
  const auto without = OsImage::open(disk.file());
  REQUIRE_FALSE(without);
  CHECK(without.error().code() == ErrorCode::kDiskImage);
  CHECK_THAT(without.error().message(), Catch::Contains("no balenaOS image"));

  disk.put("device-type.json", "{}");
  const auto with = OsImage::open(disk.file());
  REQUIRE(with);
  CHECK(with->range_of(PartRole::kBoot)->offset_bytes() == 4 * kMiB);
}

TEST_CASE("OS image: two partitions for one role are refused") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kMbr);
  support::must_run(
      {"e2label", disk.path().string() + "?offset=" + std::to_string(52 * kMiB), "resin-rootA"});
  const auto opened = OsImage::open(disk.file());
  REQUIRE_FALSE(opened);
  CHECK_THAT(opened.error().message(), Catch::Contains("two partitions are named rootA"));
}

TEST_CASE("OS image: a missing partition is named in the error") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kMbr);
  const auto opened = OsImage::open(disk.file());
  REQUIRE(opened);
  const auto efi = opened->range_of(PartRole::kEfi);
  REQUIRE_FALSE(efi);
  CHECK(efi.error().code() == ErrorCode::kDiskImage);
  CHECK_THAT(efi.error().message(), Catch::Contains("efi"));
}

TEST_CASE("OS image: after growing, ranges are where the partitions are") {
  const support::Scratch scratch;
  const DiskImage disk(scratch / "disk.img", DiskImage::Kind::kMbr, "flash-");
  auto opened = OsImage::open(disk.file());
  REQUIRE(opened);
  REQUIRE(opened->grow(PartRole::kRootA, 3 * kMiB));
  CHECK(opened->range_of(PartRole::kRootA)->size_bytes() == 12 * kMiB);
  CHECK(opened->range_of(PartRole::kData)->offset_bytes() == 80 * kMiB);
  const auto again = OsImage::open(disk.file());
  REQUIRE(again);
  CHECK(again->range_of(PartRole::kData)->offset_bytes() == 80 * kMiB);
  CHECK(again->part_of(PartRole::kData)->label == "flash-data");
}
