// Who the device is, saved before an update and put back after it.
#include "record/identity_backup.hpp"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "base/fatrw.hpp"
#include "base/files.hpp"
#include "base/json.hpp"
#include "record/boot_settings.hpp"
#include "record/identity.hpp"
#include "support/lost_power.hpp"
#include "support/scratch.hpp"

namespace {

using namespace agent::record;
using base::ErrorCode;
using base::Json;
using support::Unsynced;
using Names = std::vector<std::string>;

const std::string kConfig = R"({"uuid":"aa11","deviceType":"generic-amd64","applicationId":42,
  "deviceApiKey":"secret","deviceApiKeys":{"api.example":"secret"}, "deviceId": "7",
  "country":"GB"})";

const oci::Digest kBundle = oci::Digest::of(base::as_bytes("bundle"));

struct Bench {
  Bench() {
    config(kConfig);
    (void)scratch.write("boot/EFI/BOOT/grub_extraenv", "extra_os_cmdline=mine");
    (void)scratch.write("boot/EFI/BOOT/grubenv", "resin_root_part=2");
    (void)scratch.write("boot/cmdline.txt", "old kernel's");
    (void)scratch.write("boot/config.txt", "gpu_mem=16");
    (void)scratch.write("boot/system-connections/office", "psk=1");
    (void)scratch.write("boot/dispatcher.d/90up", "#!/bin/sh");
    (void)scratch.write("boot/splash/balena-logo.png", std::string("\x89PNG\0\xff", 6));
  }
  void config(const std::string& text) const { (void)scratch.write("boot/config.json", text); }
  [[nodiscard]] std::string text(const std::string& name) const {
    const auto bytes = base::read_file(scratch / name, 1'000'000);
    return bytes ? std::string(base::as_text(*bytes)) : "(none)";
  }
  [[nodiscard]] Names lost() const { return lost_identity(places).value(); }
  [[nodiscard]] std::string copy() const { return text("state/identity-backup.json"); }

  support::Scratch scratch;
  BackupPlaces places{scratch / "boot", scratch / "boot", scratch / "state", scratch / "data"};
};

std::string with(const std::string& key, const Json& value) {
  auto json = Json::parse(kConfig);
  json[key] = value;
  return json.dump();
}

std::string without(const std::string& key) {
  auto json = Json::parse(kConfig);
  json.erase(key);
  return json.dump();
}

}  // namespace

TEST_CASE("identity backup: both copies have config.json and the settings, for root alone") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  for (const auto& place : {bench.places.state, bench.places.data}) {
    const auto backup = read_backup(place);
    REQUIRE(backup);
    CHECK(backup->config_json == kConfig);
    Names names;
    for (const auto& [name, content] : backup->files) {
      names.push_back(name);
      CHECK(content == bench.text("boot/" + name));
    }
    CHECK(names == Names{"EFI/BOOT/grub_extraenv", "cmdline.txt", "config.txt", "dispatcher.d/90up",
                         "splash/balena-logo.png", "system-connections/office"});
    struct stat status {};
    REQUIRE(::stat((place / "identity-backup.json").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777U) == 0600);
  }
  CHECK(bench.lost().empty());
}

TEST_CASE("identity backup: the same content is not written again") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  const auto before = bench.copy();
  REQUIRE(back_up_identity(bench.places, oci::Digest::of({})));
  CHECK(bench.copy() == before);
  bench.config(with("country", "DE"));
  REQUIRE(back_up_identity(bench.places, kBundle));
  CHECK(bench.copy() != before);
}

TEST_CASE("identity backup: a write of config.json that was cut is part of it") {
  const Bench bench;
  const auto newer = with("country", "DE");
  // Its checksum file is complete; the file itself still has the old content.
  REQUIRE(support::lose_power(6, Unsynced::kKept, [&] {
    (void)base::fatrw_write(bench.scratch / "boot/config.json", base::as_bytes(newer));
  }));
  REQUIRE(bench.text("boot/config.json") == kConfig);
  REQUIRE(back_up_identity(bench.places, kBundle));
  CHECK(read_backup(bench.places.state)->config_json == newer);
}

TEST_CASE("identity backup: refuses a config.json without an identity and keeps what it has") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  const auto before = bench.copy();
  auto again = Json::parse(without("deviceApiKey"));
  again["apiKey"] = "provisioning";  // would register again: the backup knows more
  for (const auto& text : {without("uuid"), without("deviceType"), without("applicationId"),
                           without("deviceApiKey"), with("uuid", ""), with("uuid", nullptr),
                           with("uuid", "bb22"), std::string("{"), std::string(), again.dump()}) {
    bench.config(text);
    CAPTURE(text);
    const auto saved = back_up_identity(bench.places, kBundle);
    REQUIRE_FALSE(saved);
    CHECK(saved.error().code() == ErrorCode::kIdentityBackup);
    CHECK(bench.copy() == before);
    CHECK(bench.text("data/identity-backup.json") == before);
  }
  bench.config(kConfig);
  CHECK(back_up_identity(bench.places, kBundle));
}

TEST_CASE("identity backup: without room for a copy it is an error, and the copy before stays") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  const auto before = bench.copy();
  bench.config(with("country", "DE"));
  int failures = 0;
  for (int call = 1;; ++call) {
    base::Status saved;
    bool struck = false;
    {
      const support::FailingCall full(call, ENOSPC);
      saved = back_up_identity(bench.places, kBundle);
      struck = full.struck();
    }
    if (!struck) {
      break;
    }
    CAPTURE(call);
    for (const auto& place : {bench.places.state, bench.places.data}) {
      CHECK(read_backup(place));
    }
    if (!saved) {
      ++failures;
      CHECK(saved.error().code() == ErrorCode::kIdentityBackup);
    }
  }
  CHECK(failures > 4);
}

TEST_CASE("identity backup: after a power cut at any call there is a good copy, old or new") {
  const auto unsynced = GENERATE(Unsynced::kKept, Unsynced::kLost);
  const auto changed = with("country", "DE");
  int call = 1;
  for (;; ++call) {
    const Bench bench;
    REQUIRE(back_up_identity(bench.places, kBundle));
    bench.config(changed);
    if (!support::lose_power(call, unsynced,
                             [&] { (void)back_up_identity(bench.places, kBundle); })) {
      break;
    }
    CAPTURE(call, unsynced);
    for (const auto& place : {bench.places.state, bench.places.data}) {
      const auto copy = read_backup(place);
      REQUIRE(copy);
      CHECK((copy->config_json == kConfig || copy->config_json == changed));
    }
    CHECK(bench.lost().empty());
    REQUIRE(back_up_identity(bench.places, kBundle));
    CHECK(read_backup(bench.places.data)->config_json == changed);
  }
  CHECK(call > 8);
}

TEST_CASE("identity: what is missing or different is named") {
  const Bench bench;
  CHECK(lost_identity(bench.places).error().code() == ErrorCode::kIdentityBackup);
  REQUIRE(back_up_identity(bench.places, kBundle));
  const Names all{"uuid",     "deviceApiKey",  "deviceApiKeys",
                  "deviceId", "applicationId", "deviceType"};
  SECTION("nothing of it") {
    for (const auto* text : {"", "{\"uuid\":\"aa11\"", "[]", "{}"}) {
      bench.config(text);
      CHECK(bench.lost() == all);
    }
    std::filesystem::remove(bench.scratch / "boot/config.json");
    CHECK(bench.lost() == all);
  }
  SECTION("one key") {
    bench.config(without("deviceApiKey"));
    CHECK(bench.lost() == Names{"deviceApiKey"});
    bench.config(with("uuid", "bb22"));
    CHECK(bench.lost() == Names{"uuid"});
    bench.config(with("deviceApiKeys", {{"api.example", "other"}}));
    CHECK(bench.lost() == Names{"deviceApiKeys"});
  }
  SECTION("what is no loss") {
    bench.config(with("applicationId", "42"));
    CHECK(bench.lost().empty());
    bench.config(with("deviceApiKeys", {{"api.example", "secret"}, {"b.example", "new"}}));
    CHECK(bench.lost().empty());
    bench.config(with("country", "FR"));
    CHECK(bench.lost().empty());
  }
}

TEST_CASE("identity: a device that was moved to another fleet meanwhile stays there") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  auto moved = Json::parse(kConfig);
  moved["applicationId"] = 43;
  moved["deviceId"] = "8";
  SECTION("with all that it had") {
    bench.config(moved.dump());
    CHECK(bench.lost().empty());
    CHECK(restore_lost_identity(bench.places)->empty());
  }
  SECTION("and lost a key") {
    moved.erase("deviceApiKey");
    moved["deviceType"] = "";
    bench.config(moved.dump());
    const Names lost{"deviceApiKey", "deviceType"};
    CHECK(bench.lost() == lost);
    CHECK(*restore_lost_identity(bench.places) == lost);
  }
  const auto now = Json::parse(bench.text("boot/config.json"));
  CHECK(now["applicationId"] == 43);
  CHECK(now["deviceApiKey"] == "secret");
  SECTION("unless a person asks for all of it") {
    CHECK(*restore_identity(bench.places) == Names{"deviceId", "applicationId"});
  }
}

TEST_CASE("identity: a fleet that came with another uuid goes with it") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  auto other = Json::parse(kConfig);
  other["uuid"] = "bb22";
  other["applicationId"] = 43;
  bench.config(other.dump());
  CHECK(*restore_lost_identity(bench.places) == Names{"uuid", "applicationId"});
  CHECK(Json::parse(bench.text("boot/config.json")) == Json::parse(kConfig));
}

TEST_CASE("identity: a provisioning key that was exchanged is not lost") {
  const Bench bench;
  auto before = Json::parse(without("deviceApiKey"));
  before["apiKey"] = "provisioning";
  before["initialDeviceName"] = "shop";
  bench.config(before.dump());
  REQUIRE(back_up_identity(bench.places, kBundle));
  bench.config(kConfig);
  CHECK(bench.lost().empty());
  bench.config(without("deviceApiKey"));
  CHECK(bench.lost() == Names{"initialDeviceName", "apiKey"});
}

TEST_CASE("identity: is put back, and everything else keeps its text") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  SECTION("lost in part") {
    bench.config(
        "{ \"country\" : \"DE\",\n \"uuid\":\"aa11\", \"ratio\": 1.50, "
        "\"deviceType\":\"generic-amd64\", \"deviceId\": 7, \"applicationId\": 42}");
    CHECK(*restore_identity(bench.places) == Names{"deviceApiKey", "deviceApiKeys"});
    CHECK(bench.text("boot/config.json")
              .starts_with("{ \"country\" : \"DE\",\n \"uuid\":\"aa11\", \"ratio\": 1.50, "));
    CHECK(Json::parse(bench.text("boot/config.json"))["deviceApiKey"] == "secret");
  }
  SECTION("replaced by a new device's") {
    bench.config(R"({"uuid":"new","deviceApiKey":"new","deviceId":9,"userId":5,"country":"DE"})");
    CHECK(restore_identity(bench.places)->size() == 7);
    const auto now = Json::parse(bench.text("boot/config.json"));
    CHECK(now["uuid"] == "aa11");
    CHECK(now["deviceId"] == "7");
    CHECK(now["country"] == "DE");
    CHECK_FALSE(now.contains("userId"));
  }
  SECTION("the whole file when it cannot be read") {
    bench.config("{\"uuid");
    CHECK(*restore_identity(bench.places) == Names{"config.json"});
    CHECK(bench.text("boot/config.json") == kConfig);
  }
  CHECK(bench.lost().empty());
  CHECK(restore_identity(bench.places)->empty());
}

TEST_CASE("identity: a damaged copy is passed over for the other one") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  auto damaged = bench.copy();
  const auto at = damaged.find("base64\":\"") + 12;
  damaged[at] = damaged[at] == 'A' ? 'B' : 'A';
  (void)bench.scratch.write("state/identity-backup.json", damaged);
  CHECK(read_backup(bench.places.state).error().code() == ErrorCode::kIdentityBackup);
  bench.config("");
  CHECK(*restore_identity(bench.places) == Names{"config.json"});
  CHECK(bench.text("boot/config.json") == kConfig);
  SECTION("and mended by the next backup") {
    REQUIRE(back_up_identity(bench.places, kBundle));
    CHECK(read_backup(bench.places.state));
  }
  SECTION("with both damaged nothing is changed") {
    (void)bench.scratch.write("data/identity-backup.json", damaged.substr(0, 100));
    bench.config("");
    CHECK(restore_identity(bench.places).error().code() == ErrorCode::kIdentityBackup);
    CHECK(bench.text("boot/config.json").empty());
  }
}

TEST_CASE("boot settings: what the OS overwrote or lost is put back, its own is not") {
  const Bench bench;
  REQUIRE(back_up_identity(bench.places, kBundle));
  (void)bench.scratch.write("boot/EFI/BOOT/grub_extraenv", "extra_os_cmdline=");
  (void)bench.scratch.write("boot/EFI/BOOT/grubenv", "resin_root_part=3");
  (void)bench.scratch.write("boot/cmdline.txt", "new kernel's");
  (void)bench.scratch.write("boot/config.txt", "gpu_mem=32");  // by the supervisor
  (void)bench.scratch.write("boot/dispatcher.d/90up", "sample");
  (void)bench.scratch.write("boot/system-connections/office", "");
  std::filesystem::remove(bench.scratch / "boot/splash/balena-logo.png");
  CHECK(*restore_boot_settings(bench.places) == Names{"EFI/BOOT/grub_extraenv", "dispatcher.d/90up",
                                                      "splash/balena-logo.png",
                                                      "system-connections/office"});
  CHECK(bench.text("boot/EFI/BOOT/grub_extraenv") == "extra_os_cmdline=mine");
  CHECK(bench.text("boot/EFI/BOOT/grubenv") == "resin_root_part=3");
  CHECK(bench.text("boot/cmdline.txt") == "new kernel's");
  CHECK(bench.text("boot/config.txt") == "gpu_mem=32");
  CHECK(bench.text("boot/system-connections/office") == "psk=1");
  CHECK(restore_boot_settings(bench.places)->empty());
  std::size_t selectors = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(bench.places.boot)) {
    selectors += is_boot_selector_name(entry.path().filename().string()) ? 1U : 0U;
    CHECK_FALSE(entry.path().filename().string().starts_with('.'));
  }
  CHECK(selectors == 1);
}

TEST_CASE("boot settings: a directory that the OS removed is not made again") {
  const Bench bench;
  (void)bench.scratch.write("boot/grub/grub_extraenv", "bios");
  REQUIRE(back_up_identity(bench.places, kBundle));
  std::filesystem::remove_all(bench.scratch / "boot/grub");
  CHECK(restore_boot_settings(bench.places)->empty());
  CHECK_FALSE(std::filesystem::exists(bench.scratch / "boot/grub"));
}

TEST_CASE("boot settings: an encrypted system has them on the other partition too") {
  Bench bench;
  bench.places.nonenc_boot = bench.scratch / "nonenc";
  (void)bench.scratch.write("nonenc/config.txt", "arm_64bit=1");
  REQUIRE(back_up_identity(bench.places, kBundle));
  CHECK(read_backup(bench.places.data)->files.at("nonenc/config.txt") == "arm_64bit=1");
  std::filesystem::remove(bench.scratch / "nonenc/config.txt");
  std::filesystem::remove(bench.scratch / "boot/config.txt");
  CHECK(*restore_boot_settings(bench.places) == Names{"config.txt", "nonenc/config.txt"});
  CHECK(bench.text("nonenc/config.txt") == "arm_64bit=1");
  CHECK(bench.text("boot/config.txt") == "gpu_mem=16");
}
