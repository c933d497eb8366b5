// Which media may be used, decided on facts alone.
#include "media/media_policy.hpp"

#include <sys/sysmacros.h>

#include <catch2/catch.hpp>

namespace {

using namespace agent::media;
using base::ErrorCode;

const dev_t kDisk = makedev(8, 16);
const dev_t kSystemDisk = makedev(179, 0);

Medium stick() {
  return {.disk = {"sdb", kDisk, 1'000'000},
          .kind = DeviceKind::kUsb,
          .serial = "0123",
          .partitions = {{"sdb1", makedev(8, 17), 900'000}}};
}

Volume volume(const std::string& file_system, const std::string& label = "") {
  return {.device = {"sdb1", makedev(8, 17), 900'000}, .file_system = file_system, .label = label};
}

MediaPolicy policy() {
  return {.kinds = {DeviceKind::kUsb, DeviceKind::kSd}, .file_systems = {"vfat", "exfat", "ext4"}};
}

base::Result<std::vector<Volume>> check(const std::vector<Volume>& volumes) {
  return check_medium(stick(), volumes, {kSystemDisk}, policy());
}

}  // namespace

TEST_CASE("media policy: takes the allowed file systems of a medium, in order") {
  auto second = volume("vfat");
  second.device.name = "sdb3";
  const auto allowed = check({volume("ext4", "UPDATES"), volume("ntfs"), second});
  REQUIRE(allowed);
  REQUIRE(allowed->size() == 2);
  CHECK(allowed->at(0).file_system == "ext4");
  CHECK(allowed->at(1).device.name == "sdb3");
}

TEST_CASE("media policy: never takes a disk that the system stands on, whatever its kind") {
  auto medium = stick();
  medium.disk.number = kSystemDisk;
  const auto result = check_medium(medium, {volume("ext4")}, {kSystemDisk}, policy());
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kMediumSystemDisk);
  medium.kind = DeviceKind::kOther;
  const auto other = check_medium(medium, {volume("ext4")}, {kSystemDisk}, policy());
  REQUIRE_FALSE(other);
  CHECK(other.error().code() == ErrorCode::kMediumSystemDisk);
}

TEST_CASE("media policy: refuses a kind that is not allowed and names those that are") {
  auto medium = stick();
  medium.kind = DeviceKind::kLoop;
  const auto result = check_medium(medium, {volume("ext4")}, {}, policy());
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kMediumRefused);
  CHECK_THAT(result.error().what(), Catch::Contains("kind loop") && Catch::Contains("usb, sd"));
}

TEST_CASE("media policy: other people's loop devices are as if they were not there") {
  auto medium = stick();
  auto only_some = policy();
  only_some.loop_files = "/lab";
  CHECK_FALSE(agent::media::is_ignored(medium, only_some));  // a USB stick is no loop device
  medium.kind = DeviceKind::kLoop;
  medium.serial = "/lab/stick.img";
  CHECK_FALSE(agent::media::is_ignored(medium, only_some));
  for (const auto* file : {"/laboratory/stick.img", "/home/lab/stick.img", ""}) {
    medium.serial = file;
    CHECK(agent::media::is_ignored(medium, only_some));
    CHECK_FALSE(agent::media::is_ignored(medium, policy()));
  }
}

TEST_CASE("media policy: refuses the labels of the device's own system in any case of letters") {
  for (const auto* label :
       {"resin-boot", "RESIN-BOOT", "resin-rootA", "balena-efi", "flash-data"}) {
    CAPTURE(label);
    auto by_file_system = check({volume("vfat", label)});
    REQUIRE_FALSE(by_file_system);
    CHECK(by_file_system.error().code() == ErrorCode::kMediumRefused);
    CHECK_THAT(by_file_system.error().what(), Catch::Contains(label));
    auto named = volume("vfat");
    named.partition_label = label;
    auto by_partition = check({named});
    REQUIRE_FALSE(by_partition);
    CHECK(by_partition.error().code() == ErrorCode::kMediumRefused);
  }
  CHECK(check({volume("vfat", "my-resin-boot")}));
  CHECK(check({volume("vfat", "balena")}));
}

TEST_CASE("media policy: a forbidden label counts on a file system that would not be mounted too") {
  const auto result = check({volume("vfat"), volume("btrfs", "resin-data")});
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kMediumRefused);
}

TEST_CASE("media policy: a label is printed harmlessly") {
  const auto result = check({volume("vfat", "resin-\x1b[2J")});
  REQUIRE_FALSE(result);
  CHECK_THAT(result.error().what(), Catch::Contains("resin-\\x1b[2J", Catch::CaseSensitive::No));
}

TEST_CASE("media policy: refuses boot flags and EFI system partitions") {
  auto active = volume("vfat");
  active.boot_flag = true;
  const auto by_flag = check({active});
  REQUIRE_FALSE(by_flag);
  CHECK(by_flag.error().code() == ErrorCode::kMediumRefused);
  CHECK_THAT(by_flag.error().what(), Catch::Contains("bootable"));
  for (const auto* type : {"0xef", "0xEF", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"}) {
    CAPTURE(type);
    auto efi = volume("vfat");
    efi.partition_type = type;
    const auto by_type = check({efi});
    REQUIRE_FALSE(by_type);
    CHECK(by_type.error().code() == ErrorCode::kMediumRefused);
    CHECK_THAT(by_type.error().what(), Catch::Contains("EFI"));
  }
}

TEST_CASE("media policy: no allowed file system is an error that says what was found") {
  const auto result = check({volume("ntfs"), volume("")});
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kMediumFilesystem);
  CHECK_THAT(result.error().what(), Catch::Contains("sdb1 ntfs") &&
                                        Catch::Contains("sdb1 (unknown)") &&
                                        Catch::Contains("exfat, ext4, vfat"));
  const auto empty = check({});
  REQUIRE_FALSE(empty);
  CHECK(empty.error().code() == ErrorCode::kMediumFilesystem);
}

TEST_CASE("media policy: refuses names from which a device boots, in any case of letters") {
  for (const auto* name :
       {"balena-image", "balena-image-flasher", "extra_uEnv.txt", "EXTRA_UENV.TXT",
        "resinOS_uEnv.txt", "bootenv", "EFI", "efi", "grub", "start4.elf", "START.ELF",
        "kernel_2712.img", "bootcode.bin", "pieeprom.upd", "extlinux"}) {
    CAPTURE(name);
    const auto result = check_boot_files({"updates.bundle", name});
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::kMediumRefused);
    CHECK_THAT(result.error().what(), Catch::Contains(name) && Catch::Contains("remove"));
  }
}

TEST_CASE("media policy: other names at the root do not matter") {
  CHECK(check_boot_files({}));
  CHECK(check_boot_files({"release-7.bundle", "._release-7.bundle", "System Volume Information",
                          "start.txt", "my-efi", "config.txt", "lost+found"}));
}
