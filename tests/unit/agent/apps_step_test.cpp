// Switching between releases on a whole device in memory, with every call failing once.
#include "install/apps_step.hpp"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "install/pull_step.hpp"
#include "install/release_switch_json.hpp"
#include "support/fake_device.hpp"

namespace {

using agent::install::apply_switch;
using agent::install::held_update_locks;
using agent::install::is_keep_tag;
using agent::install::prepare_switch;
using agent::install::ReleaseSwitch;
using agent::install::revert_switch;
using agent::install::settle_names;
using base::ErrorCode;
using support::digest_of;
using support::FakeDevice;
using support::Faults;

const std::string kEndpoint = "https://api.invalid";
const std::string kOldCommit(32, '1');
const std::string kNewCommit(32, '2');

bundle::Manifest new_release() {
  bundle::Manifest manifest;
  manifest.targets.fleet_uuid = std::string(32, 'f');
  auto& release = manifest.release;
  release.commit = kNewCommit;
  release.volumes_json = R"({"data":{}})";
  release.networks_json = "{}";
  for (const std::string name : {"extra", "s0"}) {
    release.services.push_back({.name = name,
                                .image = digest_of("new " + name),
                                .image_reference = "registry.invalid/v2/new-" + name + "@" +
                                                   digest_of("manifest of new " + name).text(),
                                .composition_json = "{}"});
  }
  return manifest;
}

/// As pulling leaves them: under a name of ours alone.
void bring_images(FakeDevice& device) {
  for (const std::string name : {"extra", "s0"}) {
    device.engine.stored[digest_of("new " + name)] = {
        {agent::install::keep_tag(digest_of("bundle"), digest_of("new " + name))},
        {digest_of("layer of new " + name)}};
  }
}

ReleaseSwitch prepared(FakeDevice& device) {
  auto access = device.access();
  auto change = prepare_switch(access, new_release(), kEndpoint);
  REQUIRE(change);
  return *std::move(change);
}

ErrorCode refusal(FakeDevice& device, const bundle::Manifest& manifest,
                  const std::string& endpoint = kEndpoint) {
  auto access = device.access();
  const auto change = prepare_switch(access, manifest, endpoint);
  REQUIRE_FALSE(change);
  return change.error().code();
}

base::Status apply(FakeDevice& device, const ReleaseSwitch& change, bool override_lock = false) {
  auto access = device.access();
  return apply_switch(access, change, override_lock);
}

base::Status revert(FakeDevice& device, const ReleaseSwitch& change) {
  auto access = device.access();
  return revert_switch(access, change);
}

std::map<std::string, oci::Digest> new_images() {
  return {{"extra", digest_of("new extra")}, {"s0", digest_of("new s0")}};
}
std::map<std::string, oci::Digest> old_images() {
  return {{"old", digest_of("old")}, {"s0", digest_of("s0")}};
}

void let_supervisor_work(FakeDevice& device) {
  for (int i = 0; i < 3; ++i) {
    device.supervisor.tick();
  }
}

}  // namespace

TEST_CASE("apps step: the supervisor runs the new release, volumes stay, all images have names") {
  FakeDevice device;
  bring_images(device);
  const auto change = prepared(device);
  REQUIRE(apply(device, change));
  CHECK(device.supervisor.runs);
  CHECK(device.supervisor.timer_runs);
  let_supervisor_work(device);
  CHECK(device.supervisor.applied == kNewCommit);
  CHECK(device.running_images() == new_images());
  CHECK(device.supervisor.volumes.at("data") == "what users made");
  CHECK(device.supervisor.database.misuse.empty());
  CHECK(device.engine.stored.contains(digest_of("s0")));  // kept, to go back to
  CHECK(std::filesystem::exists(device.scratch / "supervisor-database.backup"));
}

TEST_CASE("apps step: every image in use gets a name of ours before the supervisor is stopped") {
  FakeDevice device;
  bring_images(device);
  const auto change = prepared(device);
  device.faults.arm(Faults::Kind::kNone, 0);
  REQUIRE(apply(device, change));
  const auto& calls = device.faults.names();
  const auto stop = std::find(calls.begin(), calls.end(), "services.stop supervisor.timer");
  const auto kept = std::count_if(calls.begin(), stop, [](const auto& call) {
    return call.starts_with("engine.tag ") && is_keep_tag(call.substr(11));
  });
  CHECK(kept == 5);  // two old ones, two new ones, the supervisor's own
  CHECK(stop != calls.end());
}

TEST_CASE("apps step: going back leaves the device as it was") {
  FakeDevice device;
  const auto before = device.supervisor.database.rows.front();
  bring_images(device);
  const auto change = prepared(device);
  REQUIRE(apply(device, change));
  let_supervisor_work(device);
  REQUIRE(revert(device, change));
  let_supervisor_work(device);
  CHECK(device.supervisor.applied == kOldCommit);
  CHECK(device.running_images() == old_images());
  CHECK(device.supervisor.database.rows.front().services_json == before.services_json);
  CHECK(device.supervisor.database.config.empty());
}

TEST_CASE("apps step: a release is pinned when the bundle says so, and going back unpins it") {
  FakeDevice device;
  bring_images(device);
  auto& config = device.supervisor.database.config;
  config["pinDevice"] = "before";
  const auto change = prepared(device);
  REQUIRE(apply(device, change));
  CHECK(config.at("pinDevice") == R"({"app":7,"commit":")" + kNewCommit + R"("})");
  SECTION("the pin is still there") {
    REQUIRE(revert(device, change));
    CHECK(config.at("pinDevice") == "before");
  }
  SECTION("the cloud has taken it over: the old release is pinned instead") {
    config.erase("pinDevice");
    REQUIRE(revert(device, change));
    CHECK(config.at("pinDevice") == R"({"app":7,"commit":")" + kOldCommit + R"("})");
  }
}

TEST_CASE("apps step: a pin stays as it is when the bundle does not pin") {
  FakeDevice device;
  bring_images(device);
  device.supervisor.database.config["pinDevice"] = "before";
  auto manifest = new_release();
  manifest.policy.pin = false;
  auto access = device.access();
  const auto change = prepare_switch(access, manifest, kEndpoint);
  REQUIRE(change);
  REQUIRE(apply(device, *change));
  CHECK(device.supervisor.database.config.at("pinDevice") == "before");
}

TEST_CASE("apps step: what the supervisor would not survive is refused") {
  FakeDevice device;
  auto manifest = new_release();
  SECTION("the release came from another cloud than config.json names") {
    CHECK(refusal(device, manifest, "https://other.invalid") == ErrorCode::kSupervisorState);
  }
  SECTION("local mode") {
    device.supervisor.database.config["localMode"] = GENERATE("1", "true");
    CHECK(refusal(device, manifest) == ErrorCode::kSupervisorState);
  }
  SECTION("another fleet") {
    manifest.targets.fleet_uuid = std::string(32, 'e');
    CHECK(refusal(device, manifest) == ErrorCode::kSupervisorState);
  }
  SECTION("another application id") {
    manifest.release.app_id = 8;
    CHECK(refusal(device, manifest) == ErrorCode::kSupervisorState);
  }
  SECTION("a volume defined differently") {
    manifest.release.volumes_json = R"({"data":{"driver":"x"}})";
    CHECK(refusal(device, manifest) == ErrorCode::kVolumeDefinition);
  }
  CHECK(device.running_images() == old_images());
}

TEST_CASE("apps step: local mode that is switched off is no hindrance") {
  FakeDevice device;
  device.supervisor.database.config["localMode"] = "0";
  auto access = device.access();
  CHECK(prepare_switch(access, new_release(), kEndpoint));
}

TEST_CASE("apps step: a lock that a service holds stops the switch, and an override removes it") {
  FakeDevice device;
  bring_images(device);
  const auto change = prepared(device);
  const auto lock = device.scratch.write(std::string("tmp/balena-supervisor/services/7/s0/") +
                                             GENERATE("updates.lock", "resin-updates.lock"),
                                         "");
  REQUIRE(held_update_locks(device.update_locks, 7) == std::vector{lock});
  CHECK(held_update_locks(device.update_locks, 8).empty());
  const auto refused = apply(device, change);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kUpdateLocked);
  CHECK(device.supervisor.database.rows.front().commit == kOldCommit);
  CHECK(device.supervisor.runs);

  REQUIRE(apply(device, change, true));
  CHECK_FALSE(std::filesystem::exists(lock));
  let_supervisor_work(device);
  CHECK(device.running_images() == new_images());
}

TEST_CASE("apps step: a lock of the supervisor's own does not count") {
  if (::geteuid() != 0) {
    WARN("needs root to give a file to another owner");
    return;
  }
  FakeDevice device;
  const auto lock = device.scratch.write("tmp/balena-supervisor/services/7/s0/updates.lock", "");
  REQUIRE(::chown(lock.c_str(), 65534, 65534) == 0);
  CHECK(held_update_locks(device.update_locks, 7).empty());
  REQUIRE(::chown(lock.c_str(), 65533, 65534) == 0);
  CHECK(held_update_locks(device.update_locks, 7).size() == 1);
}

TEST_CASE("apps step: a lock that appears while the supervisor stops is respected") {
  FakeDevice device;
  bring_images(device);
  const auto change = prepared(device);
  device.faults.on_call = [&device](const std::string& call) {
    if (call == "services.stop supervisor.service") {
      // A dangling link is a lock too: what counts is that the name is taken.
      std::filesystem::create_directories(device.locks_of("s0"));
      std::filesystem::create_symlink("nowhere", device.locks_of("s0") / "updates.lock");
    }
  };
  const auto refused = apply(device, change);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kUpdateLocked);
  CHECK(device.supervisor.database.rows.front().commit == kOldCommit);
  CHECK(device.supervisor.runs);
}

TEST_CASE("apps step: whichever call fails, the supervisor runs again, and repeating succeeds") {
  int calls = 0;
  for (int n = 1; n == 1 || n <= calls; ++n) {
    FakeDevice device;
    bring_images(device);
    const auto change = prepared(device);
    device.faults.arm(Faults::Kind::kError, n);
    const auto first = apply(device, change);
    CAPTURE(n, device.faults.names().at(static_cast<std::size_t>(n) - 1));
    CHECK_FALSE(first);
    const bool start_itself_failed =
        device.faults.names().at(static_cast<std::size_t>(n) - 1).starts_with("services.start");
    CHECK((device.supervisor.runs || start_itself_failed));
    device.faults.disarm();
    REQUIRE(apply(device, change));
    calls = n == 1 ? device.faults.calls() : calls;
    CHECK(device.supervisor.runs);
    CHECK(device.supervisor.timer_runs);
    let_supervisor_work(device);
    CHECK(device.running_images() == new_images());
    CHECK(device.supervisor.database.misuse.empty());
  }
  CHECK(calls > 15);
}

TEST_CASE("apps step: going back converges as well, whichever call fails") {
  int calls = 0;
  for (int n = 1; n == 1 || n <= calls; ++n) {
    FakeDevice device;
    bring_images(device);
    const auto change = prepared(device);
    REQUIRE(apply(device, change));
    let_supervisor_work(device);
    device.faults.arm(Faults::Kind::kError, n);
    CHECK_FALSE(revert(device, change));
    CAPTURE(n, device.faults.names().at(static_cast<std::size_t>(n) - 1));
    device.faults.disarm();
    REQUIRE(revert(device, change));
    calls = n == 1 ? device.faults.calls() : calls;
    CHECK(device.supervisor.runs);
    let_supervisor_work(device);
    CHECK(device.running_images() == old_images());
    CHECK(device.supervisor.volumes.at("data") == "what users made");
  }
  CHECK(calls >= 8);
}

TEST_CASE("apps step: settling names tries every one, and reports the first that failed") {
  FakeDevice device;
  bring_images(device);
  const auto change = prepared(device);
  REQUIRE(apply(device, change));
  let_supervisor_work(device);
  std::vector<std::string> drop;
  for (const auto& name : device.engine.names()) {
    if (is_keep_tag(name)) {
      drop.push_back(name);
    }
  }
  auto access = device.access();
  // The supervisor's own image has another name; nothing in use may lose its last one.
  device.faults.arm(Faults::Kind::kError, 3);  // the first removal, after two names were set
  CHECK_FALSE(settle_names(access, change.new_images, drop));
  CHECK(std::count_if(device.faults.names().begin(), device.faults.names().end(),
                      [](const auto& call) { return call.starts_with("engine.untag"); }) ==
        static_cast<long>(drop.size()));
  device.faults.disarm();
  REQUIRE(settle_names(access, change.new_images, drop));
  CHECK(device.engine.names() == std::set<std::string>{"registry.invalid/v2/new-extra:latest",
                                                       "registry.invalid/v2/new-s0:latest",
                                                       "supervisor:latest"});
  CHECK(device.engine.stored.size() == 3);
}

TEST_CASE("apps step: a switch survives the journal") {
  FakeDevice device;
  device.supervisor.database.config["pinDevice"] = "before";
  const auto change = prepared(device);
  const auto again = agent::install::parse_release_switch(agent::install::to_json(change));
  REQUIRE(again);
  CHECK(agent::install::to_json(*again) == agent::install::to_json(change));
  CHECK(again->old_row.services_json == change.old_row.services_json);
  CHECK(again->new_row.commit == kNewCommit);
  CHECK(again->old_pin == "before");
  REQUIRE(again->old_images.size() == 2);
  CHECK(again->old_images[1].image == digest_of("s0"));
  CHECK(again->new_images[0].name == "registry.invalid/v2/new-extra:latest");
}
