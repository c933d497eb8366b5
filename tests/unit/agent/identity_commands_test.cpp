// identity restore: whose identity a device may be given, and when.
#include "identity_commands.hpp"

#include <catch2/catch.hpp>
#include <iostream>
#include <sstream>

#include "base/files.hpp"
#include "base/json.hpp"
#include "device_lock.hpp"
#include "record/identity_backup.hpp"
#include "record/journal.hpp"
#include "support/scratch.hpp"
#include "update_steps.hpp"

namespace {

using namespace agent;
using base::Json;

std::string identity(const std::string& uuid, const std::string& country) {
  return Json{{"uuid", uuid},
              {"deviceType", "generic-amd64"},
              {"applicationId", 42},
              {"deviceApiKey", "key of " + uuid},
              {"country", country}}
      .dump();
}

struct Bench {
  Bench() {
    config =
        *load_config(std::nullopt, {{"OFFLINE_UPDATER_HOST_ROOT", scratch.path().string()},
                                    {"OFFLINE_UPDATER_STATE_DIR", (scratch / "data").string()}});
    now(identity("aa11", "GB"));
    REQUIRE(record::back_up_identity(backup_places(config), oci::Digest::of({})));
  }
  void now(const std::string& text) const { (void)scratch.write("mnt/boot/config.json", text); }
  [[nodiscard]] Json now() const {
    return Json::parse(base::as_text(*base::read_file(config.config_json(), 100'000)), nullptr,
                       false);
  }
  /// \return the exit code and what was printed
  std::pair<Exit, std::string> restore(const IdentityOptions& options) {
    std::ostringstream out;
    auto* before = std::cout.rdbuf(out.rdbuf());
    const auto exit = identity_restore_command(config, options, [this](const auto& work) {
      ++stops;
      return work();
    });
    std::cout.rdbuf(before);
    return {exit, out.str()};
  }

  support::Scratch scratch;
  Config config;
  int stops = 0;
};

}  // namespace

TEST_CASE("identity restore: from the backup, while the supervisor is stopped") {
  Bench bench;
  bench.now(R"({"uuid":"new","country":"DE"})");
  const auto from = GENERATE("", "state", "data");
  const auto [exit, text] = bench.restore({.json = true, .from_backup = from});
  CHECK(exit == Exit::kDone);
  CHECK(bench.stops == 1);
  CHECK(Json::parse(text)["changed"].size() == 4);
  CHECK(bench.now()["uuid"] == "aa11");
  CHECK(bench.now()["country"] == "DE");
  CHECK(bench.restore({}).second == "Nothing had to be changed.\n");
}

TEST_CASE("identity restore: a file of the same device is taken") {
  Bench bench;
  const auto file = bench.scratch.write("opened.json", identity("aa11", "FR"));
  SECTION("that config.json still names") {
    bench.now(R"({"uuid":"aa11","country":"DE"})");
  }
  SECTION("that only the backup names") {
    bench.now(R"({"country":"DE"})");
  }
  CHECK(bench.restore({.config_json = file}).first == Exit::kDone);
  CHECK(bench.now()["deviceApiKey"] == "key of aa11");
  CHECK(bench.now()["country"] == "DE");
}

TEST_CASE("identity restore: another device's identity only when that is said") {
  Bench bench;
  const auto file = bench.scratch.write("opened.json", identity("bb22", "FR"));
  CHECK(bench.restore({.json = true, .config_json = file}).first == Exit::kFailed);
  CHECK(bench.now()["uuid"] == "aa11");
  CHECK(bench.restore({.config_json = file, .new_device = true}).first == Exit::kDone);
  CHECK(bench.now()["uuid"] == "bb22");
  CHECK(bench.now()["deviceApiKey"] == "key of bb22");
  // The backups of the identity that was given up do not stand in the way of the next update.
  CHECK(record::back_up_identity(backup_places(bench.config), oci::Digest::of({})));
}

TEST_CASE("identity restore: a file without an identity is refused") {
  Bench bench;
  for (const auto* text : {"{}", "{\"uuid\":\"aa11\"}", "nothing"}) {
    const auto file = bench.scratch.write("opened.json", text);
    CHECK(bench.restore({.json = true, .config_json = file, .new_device = true}).first ==
          Exit::kFailed);
    CHECK(bench.now()["uuid"] == "aa11");
  }
}

TEST_CASE("identity restore: without a backup nothing is changed") {
  Bench bench;
  REQUIRE(record::forget_backups(backup_places(bench.config)));
  bench.now("{");
  CHECK(bench.restore({.json = true}).first == Exit::kFailed);
  CHECK(bench.now().is_discarded());
}

TEST_CASE("identity restore: a damaged copy that is named is not passed over for the other one") {
  Bench bench;
  (void)bench.scratch.write("mnt/state/offline-updater/identity-backup.json", "{");
  bench.now("");
  const auto [exit, text] = bench.restore({.json = true, .from_backup = "state"});
  CHECK(exit == Exit::kFailed);
  CHECK(Json::parse(text)["error"]["name"] == "identity-backup");
  CHECK(bench.now().is_discarded());
  CHECK(bench.restore({.from_backup = "data"}).first == Exit::kDone);
  CHECK(bench.now()["uuid"] == "aa11");
}

TEST_CASE("identity restore: not while an update is under way") {
  Bench bench;
  bench.now("{}");
  {
    const auto update = lock_update(bench.config.state_dir);
    REQUIRE(update);
    const auto [exit, text] = bench.restore({.json = true});
    CHECK(exit == Exit::kFailed);
    CHECK(Json::parse(text)["error"]["code"] == 312);
  }
  const record::Journal journal(bench.config.state_dir);
  REQUIRE(journal.write({.phase = record::Phase::kConfirmingOs, .bundle = oci::Digest::of({})}));
  CHECK(bench.restore({.json = true}).first == Exit::kFailed);
  CHECK(bench.stops == 0);
  CHECK(bench.now() == Json::object());
  REQUIRE(journal.clear());
  CHECK(bench.restore({}).first == Exit::kDone);
  CHECK(bench.now()["uuid"] == "aa11");
}
