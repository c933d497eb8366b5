// Whole media on real block devices, from the partition table to the opened root.
#include <catch2/catch.hpp>

#include "loop_disk.hpp"
#include "platform/libmount_mounter.hpp"
#include "platform/system_disks.hpp"
#include "support/command.hpp"
#include "support/scratch.hpp"

namespace {

using namespace agent;
using base::ErrorCode;
using media::open_medium;
using support::LoopDisk;
using support::must_run;
using support::Scratch;

const media::MediaPolicy kPolicy{.kinds = {media::DeviceKind::kLoop},
                                 .file_systems = {"vfat", "exfat", "ext4"}};

std::unique_ptr<media::Mounter> open_mounter(const Scratch& scratch) {
  support::require_root();
  auto mounter = platform::LibmountMounter::create(scratch / "runtime", "/");
  if (!mounter) {
    FAIL(mounter.error().message());
  }
  return *std::move(mounter);
}

std::filesystem::path content_of(const Scratch& scratch) {
  return scratch.write("content/hello", "from the medium").parent_path();
}

base::Error refusal(media::Mounter& mounter, const LoopDisk& disk) {
  auto media = open_medium(mounter, disk.medium(), kPolicy);
  REQUIRE_FALSE(media);
  return std::move(media).error();
}

/// One medium of one partition: `table` and `partition` as sfdisk takes them.
base::Error refusal_of_partition(const std::string& table, const std::string& partition) {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  LoopDisk disk(support::make_partitioned(scratch / "a.img", table + "\nsize=32MiB" + partition));
  disk.add_partitions();
  must_run({"mkfs.ext4", "-q", "-F", disk.node() + "p1"});
  return refusal(*mounter, disk);
}

}  // namespace

TEST_CASE("open medium, for real: a bare file system") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk disk(support::make_ext4(scratch / "a.img", content_of(scratch)));
  const auto media = open_medium(*mounter, disk.medium(), kPolicy);
  REQUIRE(media);
  REQUIRE(media->size() == 1);
  CHECK(media->front().root.open_file("hello"));
}

TEST_CASE("open medium, for real: partitions of both kinds of table") {
  const auto table = GENERATE(as<std::string>(), "label: dos", "label: gpt");
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  LoopDisk disk(support::make_partitioned(scratch / "a.img", table + "\nsize=8MiB\nsize=32MiB\n"));
  disk.add_partitions();
  must_run({"mkfs.ext4", "-q", "-F", "-d", content_of(scratch), disk.node() + "p2"});
  const auto media = open_medium(*mounter, disk.medium(), kPolicy);
  REQUIRE(media);
  REQUIRE(media->size() == 1);
  CHECK(media->front().volume.device.name == disk.name() + "p2");
  CHECK(media->front().root.open_file("hello"));
}

TEST_CASE("open medium, for real: labels of the device's own system are refused") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk ext4(
      support::make_ext4(scratch / "a.img", content_of(scratch), {"-L", "resin-rootA"}));
  CHECK(refusal(*mounter, ext4).code() == ErrorCode::kMediumRefused);
  const auto image = support::make_file(scratch / "b.img", std::uint64_t{8} << 20U);
  must_run({"mkfs.vfat", "-n", "RESIN-BOOT", image});
  const LoopDisk fat(image);
  const auto error = refusal(*mounter, fat);
  CHECK(error.code() == ErrorCode::kMediumRefused);
  CHECK_THAT(error.message(), Catch::Contains("RESIN-BOOT"));
  CHECK(refusal_of_partition("label: gpt", ", name=resin-data").code() ==
        ErrorCode::kMediumRefused);
}

TEST_CASE("open medium, for real: partitions from which a device could boot are refused") {
  const auto active = refusal_of_partition("label: dos", ", bootable");
  CHECK(active.code() == ErrorCode::kMediumRefused);
  CHECK_THAT(active.message(), Catch::Contains("bootable"));
  const auto legacy = refusal_of_partition("label: gpt", ", attrs=LegacyBIOSBootable");
  CHECK(legacy.code() == ErrorCode::kMediumRefused);
  CHECK_THAT(legacy.message(), Catch::Contains("bootable"));
  const auto mbr = refusal_of_partition("label: dos", ", type=ef");
  CHECK(mbr.code() == ErrorCode::kMediumRefused);
  CHECK_THAT(mbr.message(), Catch::Contains("EFI"));
  const auto gpt =
      refusal_of_partition("label: gpt", ", type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
  CHECK(gpt.code() == ErrorCode::kMediumRefused);
  CHECK_THAT(gpt.message(), Catch::Contains("EFI"));
}

TEST_CASE("open medium, for real: the table counts also where the kernel knows no partition") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk disk(
      support::make_partitioned(scratch / "a.img", "label: dos\nsize=32MiB, type=ef\n"));
  CHECK(refusal(*mounter, disk).code() == ErrorCode::kMediumRefused);
}

TEST_CASE("open medium, for real: boot files are refused, and the medium is unmounted") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const auto content = content_of(scratch);
  static_cast<void>(scratch.write("content/balena-image", ""));
  const LoopDisk disk(support::make_ext4(scratch / "a.img", content));
  CHECK(refusal(*mounter, disk).code() == ErrorCode::kMediumRefused);
  CHECK(std::filesystem::is_empty(scratch / "runtime"));
}

TEST_CASE(
    "open medium, for real: without a file system that is allowed the error says what is there") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk empty(support::make_file(scratch / "a.img", std::uint64_t{1} << 20U));
  CHECK(refusal(*mounter, empty).code() == ErrorCode::kMediumFilesystem);
  const auto image = support::make_file(scratch / "b.img", std::uint64_t{4} << 20U);
  must_run({"mkswap", "-q", image});
  const LoopDisk swap(image);
  const auto error = refusal(*mounter, swap);
  CHECK(error.code() == ErrorCode::kMediumFilesystem);
  CHECK_THAT(error.message(), Catch::Contains("swap"));
}

TEST_CASE("open medium, for real: a medium that the host has mounted belongs to the system") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk disk(support::make_ext4(scratch / "a.img", content_of(scratch)));
  std::filesystem::create_directory(scratch / "elsewhere");
  must_run({"mount", disk.node(), scratch / "elsewhere"});
  const auto error = refusal(*mounter, disk);
  must_run({"umount", scratch / "elsewhere"});
  CHECK(error.code() == ErrorCode::kMediumSystemDisk);
}
