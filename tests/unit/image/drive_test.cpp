// What a computer's description of itself says of its drives, on a /sys, /dev and /proc made of
// files.
#include "image/drive.hpp"

#include <sys/sysmacros.h>

#include <catch2/catch.hpp>

#include "support/command.hpp"
#include "support/scratch.hpp"

using image::Bus;
using image::Drive;
using support::Scratch;
namespace fs = std::filesystem;

namespace {

class Computer {
 public:
  Computer() {
    fs::create_directories(scratch_ / "sys/block");
    fs::create_directories(scratch_ / "sys/dev/block");
    fs::create_directories(scratch_ / "sys/class/block");
    write("proc/self/mountinfo", "1 0 0:9 / / rw - overlay overlay rw\n");
    write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
  }

  void write(const std::string& name, const std::string& text) {
    static_cast<void>(scratch_.write(name, text));
  }

  /// A disk below sys/devices/`where`, such as "pci0/usb1/1-2/host0/block/sda".
  std::string disk(const std::string& where, const std::string& number,
                   std::uint64_t sectors = 2048) {
    const std::string path = "sys/devices/" + where;
    const std::string name = fs::path(where).filename();
    write(path + "/dev", number + "\n");
    write(path + "/size", std::to_string(sectors) + "\n");
    write(path + "/ro", "0\n");
    write(path + "/removable", "0\n");
    link(path, name, number);
    fs::create_directory_symlink(scratch_ / path, scratch_ / ("sys/block/" + name));
    return path;
  }

  std::string partition(const std::string& disk, const std::string& name, unsigned index,
                        const std::string& number) {
    const std::string path = disk + "/" + name;
    write(path + "/dev", number + "\n");
    write(path + "/size", "1024\n");
    write(path + "/partition", std::to_string(index) + "\n");
    link(path, name, number);
    return path;
  }

  /// `upper` is built on `lower`, as device mapper and RAID do.
  void stack(const std::string& upper, const std::string& lower) {
    const auto name = [](const std::string& path) { return fs::path(path).filename().string(); };
    fs::create_directories(scratch_ / (upper + "/slaves"));
    fs::create_directories(scratch_ / (lower + "/holders"));
    fs::create_directory_symlink(scratch_ / lower, scratch_ / (upper + "/slaves/" + name(lower)));
    fs::create_directory_symlink(scratch_ / upper, scratch_ / (lower + "/holders/" + name(upper)));
  }

  [[nodiscard]] std::vector<Drive> drives() const {
    return image::list_drives(
               {.sys = scratch_ / "sys", .dev = scratch_ / "dev", .proc = scratch_ / "proc"})
        .value();
  }

  [[nodiscard]] Drive drive(const std::string& name) const {
    for (Drive& found : drives()) {
      if (found.name == name) {
        return found;
      }
    }
    throw std::runtime_error("no drive " + name);
  }

  [[nodiscard]] fs::path path(const std::string& name) const { return scratch_ / name; }

 private:
  void link(const std::string& path, const std::string& name, const std::string& number) {
    fs::create_directory_symlink(scratch_ / path, scratch_ / ("sys/class/block/" + name));
    fs::create_directory_symlink(scratch_ / path, scratch_ / ("sys/dev/block/" + number));
  }

  Scratch scratch_;
};

constexpr const char* kStick = "pci0/usb1/1-2/1-2:1.0/host0/target0:0:0/0:0:0:0/block/sda";

}  // namespace

TEST_CASE("drive: a USB stick is removable and has the names of stick and partitions") {
  Computer computer;
  const std::string stick = computer.disk(kStick, "8:0", 62'333'952);
  computer.write(stick + "/device/vendor", "SanDisk \n");
  computer.write(stick + "/device/model", "Ultra\x1b[2J       \n");
  computer.write("sys/devices/pci0/usb1/1-2/idVendor", "0781\n");
  computer.write("sys/devices/pci0/usb1/1-2/serial", "4C53\n");
  computer.partition(stick, "sda10", 10, "8:10");
  computer.partition(stick, "sda2", 2, "8:2");
  computer.write("dev/sda2", "");
  fs::resize_file(computer.path("dev/sda2"), 1U << 20U);
  support::must_run({"mkfs.ext4", "-q", "-L", "resin-boot", computer.path("dev/sda2")});

  const Drive drive = computer.drive("sda");
  CHECK(drive.number == makedev(8, 0));
  CHECK(drive.size_bytes == 62'333'952ULL * 512);
  CHECK(drive.bus == Bus::kUsb);
  CHECK(drive.description() == "SanDisk Ultra\\x1b[2J");
  CHECK(drive.serial == "4C53");
  CHECK(drive.removable);
  CHECK_FALSE(drive.read_only);
  REQUIRE(drive.partitions.size() == 2);
  CHECK(drive.partitions[0].name == "sda2");
  CHECK(drive.partitions[0].label == "resin-boot");
  CHECK(drive.partitions[0].file_system == "ext4");
  CHECK(drive.partitions[1].name == "sda10");
  CHECK(drive.partitions[1].label.empty());
  CHECK_FALSE(image::refusal_of(drive, false));
}

TEST_CASE("drive: what is not removable is taken only on request, what is read-only never") {
  Computer computer;
  computer.disk("pci0/nvme/nvme0/nvme0n1", "259:0");
  computer.disk("pci0/ata1/host1/target1:0:0/1:0:0:0/block/sdb", "8:16");
  computer.disk("virtual/block/loop0", "7:0");
  const std::string emmc = computer.disk("soc/mmc_host/mmc0/mmc0:0001/block/mmcblk0", "179:0");
  computer.write(emmc + "/device/type", "MMC\n");
  const std::string card = computer.disk("soc/mmc_host/mmc1/mmc1:aaaa/block/mmcblk1", "179:8");
  computer.write(card + "/device/type", "SD\n");
  computer.write(card + "/device/name", "SU08G\n");

  CHECK(computer.drive("nvme0n1").bus == Bus::kNvme);
  CHECK(computer.drive("sdb").bus == Bus::kAta);
  CHECK(computer.drive("loop0").bus == Bus::kVirtual);
  for (const char* name : {"nvme0n1", "sdb", "loop0", "mmcblk0"}) {
    CAPTURE(name);
    CHECK(image::refusal_of(computer.drive(name), false));
    CHECK_FALSE(image::refusal_of(computer.drive(name), true));
  }
  CHECK(computer.drive("mmcblk1").description() == "SU08G");
  CHECK_FALSE(image::refusal_of(computer.drive("mmcblk1"), false));
  computer.write(card + "/ro", "1\n");
  CHECK(image::refusal_of(computer.drive("mmcblk1"), true) == "read-only");
}

TEST_CASE("drive: empty readers, optical drives and boot areas of eMMC are left out") {
  Computer computer;
  computer.disk(kStick, "8:0", 0);
  computer.disk("pci0/ata1/host1/target1:0:0/1:0:0:0/block/sr0", "11:0");
  computer.disk("soc/mmc_host/mmc0/mmc0:0001/block/mmcblk0boot0", "179:16");
  CHECK(computer.drives().empty());
}

TEST_CASE("drive: one that is mounted is refused, through partitions and by name") {
  Computer computer;
  const std::string stick = computer.disk(kStick, "8:0");
  computer.partition(stick, "sda1", 1, "8:1");
  const std::string mount = GENERATE("40 1 8:1 / /media/my\\040stick rw - ext4 /dev/sda1 rw\n",
                                     "40 1 0:44 / /media/my\\040stick rw - btrfs /dev/sda1 rw\n");
  computer.write("proc/self/mountinfo", mount);
  const Drive drive = computer.drive("sda");
  CHECK_FALSE(drive.holds_system());
  CHECK(image::refusal_of(drive, true) == "in use: mounted at /media/my stick");
}

TEST_CASE("drive: a removable one that the system runs from is never written to") {
  Computer computer;
  const std::string stick = computer.disk(kStick, "8:0");
  const std::string partition = computer.partition(stick, "sda1", 1, "8:1");
  SECTION("the root file system is on it") {
    computer.write("proc/self/mountinfo", "40 1 8:1 / / rw - ext4 /dev/root rw\n");
  }
  SECTION("the boot partition is on it, as the first process sees it") {
    computer.write("proc/1/mountinfo", "40 1 8:1 / /boot/efi rw - vfat /dev/sda1 rw\n");
  }
  SECTION("it holds swap") {
    computer.write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda1 partition 9 0 -2\n");
  }
  SECTION("a volume of it is the root") {
    const std::string volume = computer.disk("virtual/block/dm-0", "253:0");
    computer.stack(volume, partition);
    computer.write("proc/self/mountinfo", "40 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n");
  }
  const Drive drive = computer.drive("sda");
  CHECK(drive.holds_system());
  CHECK_THAT(image::refusal_of(drive, true).value_or(""), Catch::StartsWith("holds the running"));
}

TEST_CASE("drive: a part of a RAID or volume group is in use, mounted or not") {
  Computer computer;
  const std::string stick = computer.disk(kStick, "8:0");
  const std::string raid = computer.disk("virtual/block/md0", "9:0");
  computer.stack(raid, computer.partition(stick, "sda1", 1, "8:1"));
  CHECK(image::refusal_of(computer.drive("sda"), true) == "in use: part of md0");
  CHECK_FALSE(image::refusal_of(computer.drive("md0"), true));
}

TEST_CASE("drive: without a mount table no drive is called unused") {
  Computer computer;
  computer.disk(kStick, "8:0");
  fs::remove(computer.path("proc/self/mountinfo"));
  const auto drives = image::list_drives(
      {.sys = computer.path("sys"), .dev = computer.path("dev"), .proc = computer.path("proc")});
  CHECK_FALSE(drives);
}
