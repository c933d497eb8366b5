// The units that run on the host, and the checks around them, on a host OS of files.
#include "install/os_step.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <regex>
#include <sstream>

#include "base/files.hpp"
#include "install/supervisor_step.hpp"
#include "os_survey.hpp"
#include "support/fake_host.hpp"
#include "support/scratch.hpp"

namespace {

using base::ErrorCode;
using support::FakeHost;

struct Host {
  support::Scratch scratch;
  support::Faults faults;
  FakeHost host{faults, scratch.path()};
};

std::string text_of(const std::string& file) {
  std::ifstream in(std::string(OU_SOURCE_DIR) + "/" + file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("os step: systemd/offline-updater-os.service says what is run, with its reasons") {
  auto unit = std::regex_replace(text_of("systemd/offline-updater-os.service"),
                                 std::regex("(^|\n)(#[^\n]*|\\[[A-Za-z]+\\]|)(?=\n)"), "");
  unit = std::regex_replace(unit, std::regex("^\n+"), "");
  CHECK(unit ==
        to_unit_file(agent::install::os_unit("@REFERENCE@", "@LOG@", std::chrono::seconds(7200))));
}

TEST_CASE("host os: slots on two disks are told from slots on one, also encrypted ones") {
  const support::Scratch sys;
  const auto add = [&](const std::string& number, const std::string& path, bool partition) {
    (void)sys.write("devices/" + path + "/dev", number + "\n");
    if (partition) {
      (void)sys.write("devices/" + path + "/partition", "1\n");
    }
    std::filesystem::create_directories(sys / "dev/block");
    std::filesystem::create_symlink("../../devices/" + path, sys / ("dev/block/" + number));
  };
  const auto slave = [&](const std::string& device, const std::string& of) {
    std::filesystem::create_directories(sys / ("devices/" + device + "/slaves"));
    std::filesystem::create_symlink("../../" + of, sys / ("devices/" + device + "/slaves") /
                                                       std::filesystem::path(of).filename());
  };
  add("8:0", "sda", false);
  add("8:2", "sda/sda2", true);
  add("8:3", "sda/sda3", true);
  add("8:16", "sdb", false);
  add("8:19", "sdb/sdb3", true);
  add("253:2", "dm-2", false);
  slave("dm-2", "sda/sda2");
  add("253:3", "dm-3", false);
  slave("dm-3", "sda/sda3");
  add("253:4", "dm-4", false);
  slave("dm-4", "sdb/sdb3");
  const auto other = [&](dev_t one, dev_t two) {
    return agent::on_other_disks(sys.path(), "/", one, two);
  };
  CHECK_FALSE(other(makedev(8, 2), makedev(8, 3)));
  CHECK(other(makedev(8, 2), makedev(8, 19)));
  CHECK_FALSE(other(makedev(253, 2), makedev(253, 3)));
  CHECK(other(makedev(253, 2), makedev(253, 4)));
  CHECK_FALSE(other(makedev(8, 2), makedev(0, 40)));  // not a block device: cannot be told
}

TEST_CASE("host os: version, type and slots are read from the OS's own files") {
  const Host device;
  const auto facts = agent::survey_os(device.scratch.path());
  REQUIRE(facts);
  CHECK(facts->version == "6.5.3");
  CHECK(facts->device_type == "generic-amd64");
  CHECK(facts->missing_tools.empty());
  const auto settled = agent::survey_os_state(device.scratch.path());
  REQUIRE(settled);
  CHECK_FALSE(settled->unconfirmed);
  CHECK_FALSE(settled->other_update);
  CHECK_FALSE(facts->secure_boot);
  CHECK(facts->slot_bytes > 0);
  CHECK(facts->boot_files.at("EFI/BOOT/grub_extraenv") == 21);
}

TEST_CASE("host os: a missing tool, a breadcrumb, a lock and secure boot are noticed") {
  const Host device;
  SECTION("tool") {
    std::filesystem::remove(device.scratch / "usr/libexec/safe_reboot");
    CHECK(agent::survey_os(device.scratch.path())->missing_tools ==
          std::vector<std::string>{"/usr/libexec/safe_reboot"});
  }
  SECTION("breadcrumb") {
    device.host.write("mnt/state/rollback-altboot-breadcrumb", "");
    CHECK(agent::survey_os_state(device.scratch.path())->unconfirmed);
  }
  SECTION("both slots on one file system") {
    CHECK_FALSE(agent::survey_os(device.scratch.path())->one_slot);
    std::filesystem::create_directories(device.scratch / "mnt/sysroot/active");
    CHECK(agent::survey_os(device.scratch.path())->one_slot);
  }
  SECTION("balenaHUP's lock") {
    std::filesystem::create_directories(device.scratch / "var");
    std::filesystem::create_symlink("/run/lock", device.scratch / "var/lock");
    device.host.write("run/lock/resinhup.lock", "");
    CHECK_FALSE(agent::survey_os_state(device.scratch.path())->other_update);
    const auto held = base::open_file(device.scratch / "run/lock/resinhup.lock", O_RDWR);
    REQUIRE(held);
    REQUIRE(::flock(held->get(), LOCK_EX) == 0);
    CHECK(agent::survey_os_state(device.scratch.path())->other_update);
  }
  SECTION("secure boot") {
    device.host.write("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
                      std::string("\x06\0\0\0\x01", 5));
    CHECK(agent::survey_os(device.scratch.path())->secure_boot);
  }
}

TEST_CASE("host os: a host without slots is no balenaOS") {
  const Host device;
  std::filesystem::remove_all(device.scratch / "mnt/sysroot");
  const auto facts = agent::survey_os(device.scratch.path());
  REQUIRE_FALSE(facts);
  CHECK(facts.error().code() == ErrorCode::kDeviceFacts);
}

TEST_CASE("os step: the VPN flag is cleared and every other variable stays") {
  const Host device;
  device.host.write("mnt/state/rollback-health-variables",
                    "OTHER=1\nBALENAOS_ROLLBACK_VPNONLINE=1\n");
  REQUIRE(agent::install::expect_no_vpn(device.scratch.path()));
  CHECK(device.host.read("mnt/state/rollback-health-variables") ==
        "OTHER=1\nBALENAOS_ROLLBACK_VPNONLINE=0\n");
}

TEST_CASE("supervisor.conf: image and version are set, every other line stays") {
  const std::string conf = "SUPERVISOR_IMAGE=old\nSUPERVISOR_VERSION=v17.6.23\nLED_FILE=/x\n";
  const auto changed = agent::install::with_supervisor(conf, "registry.invalid/v2/new", "18.0.0");
  CHECK(changed ==
        "LED_FILE=/x\nSUPERVISOR_IMAGE=registry.invalid/v2/new\nSUPERVISOR_VERSION=v18.0.0\n");
  CHECK(agent::install::supervisor_version_in(conf) == "17.6.23");
  CHECK(agent::install::supervisor_image_in(changed) == "registry.invalid/v2/new");
  CHECK(agent::install::with_supervisor(changed, "registry.invalid/v2/new", "18.0.0") == changed);
}

TEST_CASE("boot selector: all families are read the same way") {
  const auto grub = agent::install::parse_boot_selector(
      "# GRUB Environment Block\nresin_root_part=3\nupgrade_available=1\nbootcount=0\n####");
  CHECK(grub.root_part == "3");
  CHECK(grub.upgrade_available);
  const auto uboot = agent::install::parse_boot_selector("resin_root_part=a\r\n");
  CHECK(uboot.root_part == "a");
  CHECK_FALSE(uboot.upgrade_available);
}

TEST_CASE("host os: an update is confirmed only by files that can be read") {
  agent::install::HostOsState state{.running = {"6.6.0", "6.6.0", "pi"}};
  state.complete = true;
  state.selector = agent::install::BootSelector{"/mnt/boot/bootenv", "B", false};
  using agent::install::OsVerdict;
  CHECK(judge(state, "6.6.0") == OsVerdict::kConfirmed);
  CHECK(judge(state, "6.7.0") == OsVerdict::kReverted);
  SECTION("the state partition is not mounted") {
    state.complete = false;
  }
  SECTION("the boot partition is not mounted") {
    state.selector.reset();
  }
  SECTION("a breadcrumb") {
    state.unconfirmed = true;
  }
  SECTION("rollback-health has decided to go back") {
    state.reverted_by = "rollback-health";
  }
  SECTION("the bootloader still counts") {
    state.selector->upgrade_available = true;
  }
  const bool changed = !state.complete || !state.selector || state.unconfirmed ||
                       !state.reverted_by.empty() || state.selector->upgrade_available;
  CHECK((judge(state, "6.6.0") == OsVerdict::kPending) == changed);
}
