// Disks of every kind, in a /sys made of files: this machine has no USB port.
#include "platform/sysfs_media.hpp"

#include <sys/sysmacros.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "support/scratch.hpp"

namespace {

namespace fs = std::filesystem;
using agent::media::DeviceKind;
using agent::platform::SysfsMedia;

constexpr const char* kUsbDevice = "devices/platform/soc/3f980000.usb/usb1/1-1/1-1.2";
constexpr const char* kUsbDisk =
    "devices/platform/soc/3f980000.usb/usb1/1-1/1-1.2/1-1.2:1.0/host0/target0:0:0/0:0:0:0/block/"
    "sda";

class FakeSys {
 public:
  FakeSys() { fs::create_directories(scratch_ / "block"); }

  /// A disk at `path` below /sys, with its link in /sys/block.
  void add_disk(const std::string& path, const std::string& number, const std::string& sectors) {
    write(path + "/dev", number);
    write(path + "/size", sectors);
    fs::create_symlink(scratch_ / path, scratch_ / "block" / fs::path(path).filename());
  }
  void write(const std::string& path, const std::string& text) {
    static_cast<void>(scratch_.write(path, text + "\n"));
  }
  [[nodiscard]] SysfsMedia media() const { return SysfsMedia(scratch_.path()); }

 private:
  support::Scratch scratch_;
};

}  // namespace

TEST_CASE("sysfs media: a USB stick with its serial number and its partitions in their order") {
  FakeSys sys;
  const std::string disk = kUsbDisk;
  sys.add_disk(disk, "8:0", "2048000");
  sys.write(disk + "/diskseq", "17");
  sys.write(std::string(kUsbDevice) + "/idVendor", "0781");
  sys.write(std::string(kUsbDevice) + "/serial", "4C53\x01");
  sys.write(disk + "/queue/rotational", "0");
  for (const auto* number : {"10", "2"}) {
    const auto partition = disk + "/sda" + number;
    sys.write(partition + "/partition", number);
    sys.write(partition + "/dev", std::string("8:") + number);
    sys.write(partition + "/size", "2048");
  }
  const auto present = sys.media().read("sda");
  REQUIRE(present);
  CHECK(present->sequence == 17U);
  const auto& medium = present->medium;
  CHECK(medium.kind == DeviceKind::kUsb);
  CHECK(medium.serial == "4C53\\x01");
  CHECK(medium.disk.name == "sda");
  CHECK(medium.disk.number == makedev(8, 0));
  CHECK(medium.disk.size_bytes == 2048000U * 512U);
  REQUIRE(medium.partitions.size() == 2);
  CHECK(medium.partitions[0].name == "sda2");
  CHECK(medium.partitions[1].name == "sda10");
  CHECK(medium.partitions[1].number == makedev(8, 10));
}

TEST_CASE("sysfs media: an SD card is a medium, soldered eMMC and its boot parts are none") {
  FakeSys sys;
  sys.add_disk("devices/platform/mmc0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0", "179:0", "1000");
  sys.write("devices/platform/mmc0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/device/type", "SD");
  sys.write("devices/platform/mmc0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0/device/serial", "0x1234");
  for (const auto* name : {"mmcblk1", "mmcblk1boot0"}) {
    const auto path = std::string("devices/platform/mmc1/mmc_host/mmc1/mmc1:0001/block/") + name;
    sys.add_disk(path, "179:32", "1000");
    sys.write(path + "/device/type", "MMC");
  }
  const auto card = sys.media().read("mmcblk0");
  REQUIRE(card);
  CHECK(card->medium.kind == DeviceKind::kSd);
  CHECK(card->medium.serial == "0x1234");
  CHECK_FALSE(card->sequence);
  CHECK_FALSE(sys.media().read("mmcblk1"));
  CHECK_FALSE(sys.media().read("mmcblk1boot0"));
}

TEST_CASE("sysfs media: a loop device counts only while it has a file behind it") {
  FakeSys sys;
  sys.add_disk("devices/virtual/block/loop0", "7:0", "8");
  CHECK_FALSE(sys.media().read("loop0"));
  sys.write("devices/virtual/block/loop0/loop/backing_file", "/tmp/a.img");
  const auto loop = sys.media().read("loop0");
  REQUIRE(loop);
  CHECK(loop->medium.kind == DeviceKind::kLoop);
  CHECK(loop->medium.serial == "/tmp/a.img");
}

TEST_CASE("sysfs media: other disks, empty drives and damaged numbers are no media") {
  FakeSys sys;
  sys.add_disk("devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sdb", "8:16",
               "1000");
  sys.add_disk("devices/virtual/block/dm-0", "253:0", "1000");
  sys.add_disk("devices/platform/usbx/usb/block/sdc", "8:32", "1000");
  sys.add_disk("devices/pci0/usb1/1-1/block/sdd", "8:48", "0");
  sys.add_disk("devices/pci0/usb1/1-2/block/sde", "8:64", "99999999999999999999");
  sys.add_disk("devices/pci0/usb1/1-3/block/sdf", "8:80", "36028797018963968");  // 2^64 bytes
  sys.add_disk("devices/pci0/usb1/1-4/block/sdg", "8;96", "1000");
  for (const auto* name : {"sdb", "dm-0", "sdc", "sdd", "sde", "sdf", "sdg", "sdh"}) {
    CAPTURE(name);
    CHECK_FALSE(sys.media().read(name));
  }
  const auto names = sys.media().disk_names();
  REQUIRE(names);
  CHECK(names->size() == 7);
}

TEST_CASE("sysfs media: without the kernel's number, another size or serial is another medium") {
  FakeSys sys;
  sys.add_disk(kUsbDisk, "8:0", "1000");
  const auto before = sys.media().read("sda");
  REQUIRE(before);
  CHECK(before->is_same_medium(*before));
  sys.write(std::string(kUsbDisk) + "/size", "2000");
  const auto after = sys.media().read("sda");
  REQUIRE(after);
  CHECK_FALSE(after->is_same_medium(*before));
  sys.write(std::string(kUsbDisk) + "/diskseq", "5");
  CHECK_FALSE(sys.media().read("sda")->is_same_medium(*after));
}
