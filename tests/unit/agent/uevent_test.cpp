// The kernel's messages about devices.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "platform/uevent_socket.hpp"

namespace {

using agent::platform::disk_of_device_path;
using agent::platform::parse_uevent;

std::string message(const std::vector<std::string>& texts) {
  std::string result;
  for (const auto& text : texts) {
    result += text + '\0';
  }
  return result;
}

const std::string kPath = "/devices/pci0000:00/usb1/1-1/host0/target0:0:0/0:0:0:0/block/sda";

}  // namespace

TEST_CASE("uevent: tells the disk of a disk's and of a partition's event") {
  const auto disk = parse_uevent(message(
      {"add@" + kPath, "ACTION=add", "DEVPATH=" + kPath, "SUBSYSTEM=block", "DEVTYPE=disk"}));
  REQUIRE(disk);
  CHECK(disk->disk == "sda");
  CHECK_FALSE(disk->is_replaced);
  const auto partition =
      parse_uevent(message({"remove@" + kPath + "/sda1", "ACTION=remove",
                            "DEVPATH=" + kPath + "/sda1", "SUBSYSTEM=block", "DEVTYPE=partition"}));
  REQUIRE(partition);
  CHECK(partition->disk == "sda");
  CHECK_FALSE(partition->is_replaced);
}

TEST_CASE("uevent: a disk that went and a changed medium mean another medium") {
  for (const auto* text : {"ACTION=remove", "DISK_MEDIA_CHANGE=1"}) {
    const auto event = parse_uevent(
        message({"x@" + kPath, "DEVPATH=" + kPath, "SUBSYSTEM=block", "DEVTYPE=disk", text}));
    REQUIRE(event);
    CHECK(event->is_replaced);
  }
}

TEST_CASE("uevent: other subsystems and what is no message of the kernel are passed over") {
  CHECK_FALSE(
      parse_uevent(message({"add@/devices/usb1", "DEVPATH=/devices/usb1", "SUBSYSTEM=usb"})));
  CHECK_FALSE(parse_uevent(message({"libudev", "DEVPATH=" + kPath, "SUBSYSTEM=block"})));
  CHECK_FALSE(parse_uevent(""));
  CHECK_FALSE(parse_uevent("add@"));
  CHECK_FALSE(parse_uevent(message({"add@x", "SUBSYSTEM=block"})));
  CHECK_FALSE(parse_uevent(message({"add@x", "SUBSYSTEM=block", "DEVPATH=/devices/block/.."})));
  CHECK_FALSE(parse_uevent(std::string("add@x\0SUBSYSTEM=block\0DEVPATH", 30)));
}

TEST_CASE("uevent: a message that ends without its zero byte is read to its end") {
  const auto event = parse_uevent("add@x" + std::string(1, '\0') + "SUBSYSTEM=block" +
                                  std::string(1, '\0') + "DEVPATH=/devices/block/sdb");
  REQUIRE(event);
  CHECK(event->disk == "sdb");
}

TEST_CASE("uevent: the disk in a device path") {
  CHECK(disk_of_device_path("/devices/virtual/block/loop0") == "loop0");
  CHECK(disk_of_device_path("/devices/virtual/block/loop0/loop0p1") == "loop0");
  CHECK_FALSE(disk_of_device_path("/devices/virtual/net/eth0"));
  CHECK_FALSE(disk_of_device_path("/devices/virtual/block/"));
}
