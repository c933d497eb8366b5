// Whole updates on a device in memory: how they end, and what is left behind.
#include <catch2/catch.hpp>
#include <fstream>

#include "install/listening_socket.hpp"
#include "install/pull_step.hpp"
#include "support/update_bench.hpp"

namespace {

using agent::record::Phase;
using agent::record::RunOutcome;
using agent::record::RunResult;
using base::ErrorCode;
using support::Behaviour;
using support::digest_of;
using support::SignedBundle;
using support::UpdateBench;

const std::set<std::string> kOldNames{"registry.invalid/v2/old:latest",
                                      "registry.invalid/v2/s0:latest", "supervisor:latest"};

void check_as_before(const UpdateBench& bench) {
  CHECK(bench.device.running_images() ==
        std::map<std::string, oci::Digest>{{"old", digest_of("old")}, {"s0", digest_of("s0")}});
  CHECK(bench.device.engine.names() == kOldNames);
  CHECK(bench.device.engine.stored.size() == 3);
  CHECK(bench.device.supervisor.database.rows.front().commit == std::string(32, '1'));
  CHECK(bench.device.supervisor.runs);
  CHECK(bench.device.supervisor.timer_runs);
  CHECK(bench.device.supervisor.volumes.at("data") == "what users made");
  CHECK_FALSE(bench.journal_entry());
}

void check_updated(const UpdateBench& bench) {
  CHECK(bench.device.running_images() ==
        std::map<std::string, oci::Digest>{{"s0", bench.medium->image(0)},
                                           {"s1", bench.medium->image(1)}});
  CHECK(bench.device.engine.stored.size() == 3);
  CHECK(bench.device.engine.names().size() == 3);
  for (const auto& name : bench.device.engine.names()) {
    CHECK_FALSE(agent::install::is_keep_tag(name));
  }
  CHECK(bench.device.supervisor.runs);
  CHECK(bench.device.supervisor.timer_runs);
  CHECK(bench.device.supervisor.volumes.at("data") == "what users made");
  CHECK(bench.device.supervisor.database.misuse.empty());
  CHECK_FALSE(bench.journal_entry());
}

/// The power goes when the supervisor is about to be started with its new target.
void cut_after_target_was_written(UpdateBench& bench) {
  bench.device.faults.on_call = [&bench, written = false](const std::string& call) mutable {
    written = written || call == "database.write_target";
    if (written && call == "services.start supervisor.service") {
      bench.device.faults.on_call = nullptr;
      throw support::PowerCut();
    }
  };
}

void check_error(const RunOutcome& outcome, RunResult result, ErrorCode code) {
  CAPTURE(outcome.error ? outcome.error->message() : "");
  CHECK(outcome.result == result);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == code);
}

}  // namespace

TEST_CASE("update run: a bundle is installed, confirmed and remembered") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  const auto outcome = bench.take_medium();
  CAPTURE(outcome.error ? outcome.error->message() : "");
  CHECK(outcome.result == RunResult::kUpdated);
  CHECK(outcome.from_commit == std::string(32, '1'));
  CHECK(outcome.to_commit == std::string(32, '2'));
  CHECK(outcome.sequence == 5);
  CHECK(outcome.bytes_read > 200'000);
  CHECK(outcome.device_uuid == std::string(32, 'd'));
  check_updated(bench);
  CHECK(bench.ledger().highest_sequence(std::string(32, 'f')) == 5);

  CHECK(bench.take_medium().result == RunResult::kUpToDate);
  check_updated(bench);
}

TEST_CASE("update run: what is up to date already is not gone back from by an older bundle") {
  const SignedBundle bundle(9);
  UpdateBench bench(bundle);
  bench.device.supervisor.database.rows.front().commit = std::string(32, '2');  // by the cloud
  CHECK(bench.take_medium().result == RunResult::kUpToDate);
  SignedBundle older(7);
  older.built.manifest.release.commit = std::string(32, '3');
  older.sign();
  bench.medium = &older;
  check_error(bench.take_medium(), RunResult::kRefused, ErrorCode::kSequenceOld);
}

TEST_CASE("update run: a release that crashes is taken back, and not tried again by itself") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  bench.device.engine.behaviours[bundle.image(0)] = Behaviour::kCrashes;
  const auto outcome = bench.take_medium();
  check_error(outcome, RunResult::kReverted, ErrorCode::kReleaseUnhealthy);
  CHECK_THAT(outcome.error->message(), Catch::Contains("s0") && Catch::Contains("42"));
  check_as_before(bench);
  CHECK(bench.ledger().highest_sequence(std::string(32, 'f')) == 0);

  bench.device.faults.arm(support::Faults::Kind::kNone, 0);
  check_error(bench.take_medium(), RunResult::kRefused, ErrorCode::kBundleFailedBefore);
  for (const auto& call : bench.device.faults.names()) {
    CHECK_FALSE(call.starts_with("engine.pull"));
  }
}

TEST_CASE("update run: an altered chunk fails the update, and nothing is changed") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  const auto& image = bundle.built.manifest.images;
  const auto layer =
      std::max_element(image.begin(), image.end(),
                       [&](auto& a, auto& b) {
                         return bundle.built.manifest.blobs.at(a.layers[0].blob).size_bytes <
                                bundle.built.manifest.blobs.at(b.layers[0].blob).size_bytes;
                       })
          ->layers[0]
          .blob;
  {
    std::fstream file(bundle.built.directory / "blobs/sha256" / layer.hex(),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100'000);
    file.put('!').put('?').put('!').put('?');
  }
  check_error(bench.take_medium(), RunResult::kFailed, ErrorCode::kBlobAltered);
  check_as_before(bench);
}

TEST_CASE("update run: a pull that the engine refuses takes back what came before it") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  bench.device.faults.on_call = [&, pulls = 0](const std::string& call) mutable {
    if (call == "engine.pull" && ++pulls == 2) {
      bench.device.faults.fail_this_call();
    }
  };
  check_error(bench.take_medium(), RunResult::kFailed, ErrorCode::kEnginePull);
  check_as_before(bench);
}

TEST_CASE("update run: an engine that goes away during a pull is waited for") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  SECTION("it comes back") {
    bench.device.engine.lost_pulls = 2;
    CHECK(bench.take_medium().result == RunResult::kUpdated);
    check_updated(bench);
  }
  SECTION("it goes away each time") {
    bench.device.engine.lost_pulls = 1000;
    check_error(bench.take_medium(), RunResult::kFailed, ErrorCode::kEngineUnavailable);
    check_as_before(bench);
  }
  SECTION("the agent is stopped meanwhile") {
    bench.device.engine.lost_pulls = 1000;
    std::stop_source stop;
    bench.device.engine.during_pull = [&] { stop.request_stop(); };
    check_error(bench.take_medium(stop.get_token()), RunResult::kInterrupted,
                ErrorCode::kCancelled);
    CHECK(bench.journal_entry());
  }
}

TEST_CASE("update run: a stop during the pull leaves the journal, and the next start goes on") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  std::stop_source stop;
  bench.device.engine.during_pull = [&] { stop.request_stop(); };
  check_error(bench.take_medium(stop.get_token()), RunResult::kInterrupted, ErrorCode::kCancelled);
  REQUIRE(bench.journal_entry());
  CHECK(bench.journal_entry()->phase == Phase::kPulling);
  CHECK(bench.journal_entry()->registry_token.size() == 32);
  bench.device.engine.during_pull = nullptr;
  SECTION("the medium is there") {
    CHECK_FALSE(bench.start());
    CHECK(bench.take_medium().result == RunResult::kUpdated);
    check_updated(bench);
  }
  SECTION("the medium does not come back") {
    const auto outcome = bench.give_up_waiting();
    REQUIRE(outcome);
    check_error(*outcome, RunResult::kFailed, ErrorCode::kMediumTimeout);
    check_as_before(bench);
  }
}

TEST_CASE("update run: a stop during the watch is gone on with, without the medium") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  std::stop_source stop;
  bench.device.waiter.at_each_wait = [&](auto) { stop.request_stop(); };
  check_error(bench.take_medium(stop.get_token()), RunResult::kInterrupted, ErrorCode::kCancelled);
  CHECK(bench.journal_entry()->phase == Phase::kConfirming);
  CHECK(bench.device.supervisor.runs);
  bench.device.waiter.at_each_wait = nullptr;
  const auto outcome = bench.start();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("update run: a busy systemd or an engine that is away says nothing of the bundle") {
  const bool engine = GENERATE(false, true);
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  bench.device.engine.tag_failure = ErrorCode::kEngineUnavailable;
  bench.device.supervisor.unit_failure = ErrorCode::kTimeout;
  const std::string wanted =
      engine ? "engine.tag registry.invalid/v2/" + bundle.image(1).hex().substr(0, 32) + ":latest"
             : "services.stop supervisor.service";
  bench.device.faults.on_call = [&, once = false](const std::string& call) mutable {
    if (!once && call == wanted) {
      once = true;
      bench.device.faults.fail_this_call();
    }
  };
  check_error(bench.take_medium(), RunResult::kInterrupted,
              engine ? ErrorCode::kEngineUnavailable : ErrorCode::kTimeout);
  CHECK(bench.device.supervisor.runs);
  const auto outcome = bench.start();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("update run: an update lock is waited for") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  const auto lock =
      bench.device.scratch.write("tmp/balena-supervisor/services/7/s0/updates.lock", "");
  SECTION("it is released in time") {
    bench.device.waiter.at_each_wait = [&](auto) { std::filesystem::remove(lock); };
    CHECK(bench.take_medium().result == RunResult::kUpdated);
    check_updated(bench);
  }
  SECTION("it is not: nothing is changed, and the bundle may be tried again") {
    check_error(bench.take_medium(), RunResult::kFailed, ErrorCode::kUpdateLocked);
    check_as_before(bench);
    std::filesystem::remove(lock);
    CHECK(bench.take_medium().result == RunResult::kUpdated);
    check_updated(bench);
  }
}

TEST_CASE("update run: a bundle that overrides update locks does not wait") {
  SignedBundle bundle;
  bundle.built.manifest.policy.override_update_lock = true;
  bundle.sign();
  UpdateBench bench(bundle);
  (void)bench.device.scratch.write("tmp/balena-supervisor/services/7/s0/updates.lock", "");
  CHECK(bench.take_medium().result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("update run: a lock taken after the target was written does not leave it half done") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  cut_after_target_was_written(bench);
  REQUIRE_THROWS_AS(bench.take_medium(), support::PowerCut);
  REQUIRE(bench.device.supervisor.database.rows.front().commit == std::string(32, '2'));
  const auto lock =
      bench.device.scratch.write("tmp/balena-supervisor/services/7/s0/updates.lock", "");
  bench.device.reboot();
  SECTION("a lock of the old release that stays: the old release goes on") {
    const auto outcome = bench.start();
    REQUIRE(outcome);
    REQUIRE(outcome->error);
    CHECK(outcome->error->code() == ErrorCode::kUpdateLocked);
    CHECK_FALSE(bench.ledger().find(*oci::Digest::parse(outcome->bundle_digest)));
    std::filesystem::remove(lock);
    check_as_before(bench);
    bench.device.supervisor.tick();
    check_as_before(bench);
  }
  SECTION("a lock that is released: the update goes on") {
    bench.device.waiter.at_each_wait = [&](auto) { std::filesystem::remove(lock); };
    const auto outcome = bench.start();
    REQUIRE(outcome);
    CHECK(outcome->result == RunResult::kUpdated);
    check_updated(bench);
  }
}

TEST_CASE("update run: a new release that locks itself is still confirmed after a power cut") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  cut_after_target_was_written(bench);
  REQUIRE_THROWS_AS(bench.take_medium(), support::PowerCut);
  bench.device.reboot();
  bench.device.supervisor.tick();
  REQUIRE(bench.device.running_images().at("s0") == bundle.image(0));
  (void)bench.device.scratch.write("tmp/balena-supervisor/services/7/s0/updates.lock", "");
  const auto outcome = bench.start();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("update run: what a pull left that was cut before its image was named is found again") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  bench.device.faults.on_call = [&, pulled = false](const std::string& call) mutable {
    pulled = pulled || call == "engine.pull";
    if (pulled && call.starts_with("engine.tag")) {
      bench.device.faults.on_call = nullptr;
      throw support::PowerCut();
    }
  };
  REQUIRE_THROWS_AS(bench.take_medium(), support::PowerCut);
  REQUIRE(bench.device.engine.stored.size() == 4);
  SECTION("the medium is there") {
    CHECK(bench.take_medium().result == RunResult::kUpdated);
    check_updated(bench);
  }
  SECTION("the medium does not come back") {
    CHECK(bench.give_up_waiting());
    check_as_before(bench);
  }
  SECTION("a newer bundle takes its place") {
    const SignedBundle newer(6);
    bench.medium = &newer;
    CHECK(bench.take_medium().result == RunResult::kUpdated);
    CHECK(bench.device.engine.names().size() == 3);
  }
}

TEST_CASE(
    "update run: an image that a power cut has damaged goes with the update that is given up") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  bench.device.faults.on_call = [&](const std::string& call) {
    if (call.starts_with("engine.untag")) {
      bench.device.faults.on_call = nullptr;
      throw support::PowerCut();
    }
  };
  REQUIRE_THROWS_AS(bench.take_medium(), support::PowerCut);
  REQUIRE(bench.device.engine.stored.size() == 4);
  bench.device.engine.damaged.insert(bench.medium->image(1));
  CHECK(bench.give_up_waiting());
  check_as_before(bench);
}

TEST_CASE("update run: the registry listens where REGISTRY_PORT says, or elsewhere if it has to") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  auto taken = agent::install::listen_on_loopback(0);
  REQUIRE(taken);
  bench.config.registry_port = taken->port;
  const bool free = GENERATE(true, false);
  if (free) {
    taken->fd.reset();
  }
  std::uint16_t used = 0;
  bench.device.engine.during_pull = [&] { used = bench.journal_entry()->registry_port; };
  CHECK(bench.take_medium().result == RunResult::kUpdated);
  CHECK((used == bench.config.registry_port) == free);
}
