// The host OS as part of an update, on a device in memory: what others have done meanwhile, and
// what is left when the agent or the power goes at the worst moment.
#include "commands.hpp"
#include "support/os_checks.hpp"

namespace {

using agent::record::Phase;
using agent::record::RunResult;
using base::ErrorCode;
using namespace support;

}  // namespace

TEST_CASE("os recovery: a unit that systemd has accepted and not begun is waited for") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.units_begin_late = true;
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  check_in_order(bench);
  check_all_new(bench);
}

TEST_CASE("os recovery: a second try that is cut before it begins is no second failure") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.behaviour = OsBehaviour::kDoesNotBoot;
  check_goes_back(bench, ErrorCode::kOsNotStarted);
  bench.device.host.behaviour = OsBehaviour::kGood;
  bench.device.faults.on_call = [&](const std::string& name) {
    if (name == "services.report offline-updater-os.service") {
      bench.device.faults.on_call = nullptr;
      throw PowerCut();
    }
  };
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  CHECK(bench.device.host.installations == 2);
  check_in_order(bench);
  check_all_new(bench);
}

TEST_CASE("os recovery: a journal that cannot be written once the OS is there undoes it") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  const auto obstacle = bench.device.scratch / "journal.json.new";
  bench.device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    const bool installing = entry && entry->phase == Phase::kInstallingOs;
    if (installing && !bench.device.host.is_settled()) {
      std::filesystem::create_directories(obstacle / "full");  // as little can be written as then
    }
  };
  const auto outcome = bench.take_medium();
  CHECK(outcome.result == RunResult::kFailed);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == ErrorCode::kJournal);
  CHECK(std::filesystem::exists(obstacle));
  check_in_order(bench);
  bench.device.reboot();  // for whatever reason
  check_all_old(bench);
}

TEST_CASE(
    "os recovery: what a broken-off hook left is undone when the second try comes to nothing") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.faults.on_call = [&](const std::string& name) {
    if (name == "host.tick" &&
        bench.device.host.read("mnt/boot/os-release").find("6.6.0") != std::string::npos) {
      throw PowerCut();  // half of the boot files are copied
    }
  };
  CHECK_THROWS_AS(bench.take_medium(), PowerCut);
  bench.device.faults.on_call = nullptr;
  bench.device.reboot();
  REQUIRE(bench.device.host.running_version() == FakeHost::kOldVersion);
  bench.device.engine.stored.erase(bundle.image(0));  // the power cut cost an image
  std::stop_source stop;
  bench.device.engine.during_pull = [&] { stop.request_stop(); };
  CHECK(bench.take_medium(stop.get_token()).result == RunResult::kInterrupted);
  CHECK(run_to_the_end(bench, false).result == RunResult::kFailed);
  check_in_order(bench);
  CHECK(bench.device.host.read("mnt/boot/os-release").find("6.5.3") != std::string::npos);
}

TEST_CASE("os recovery: another program that begins to update the OS first is left alone") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.behaviour = OsBehaviour::kLockHeld;
  const auto outcome = bench.take_medium();
  CHECK(outcome.result == RunResult::kFailed);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == ErrorCode::kUpdateInProgress);
  const auto& calls = bench.device.faults.names();
  CHECK(std::count(calls.begin(), calls.end(), "services.run offline-updater-os-undo.service") ==
        0);
  check_in_order(bench);
  check_all_old(bench);
}

TEST_CASE("os recovery: boot files of an OS that never got its turn do not stay") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.faults.on_call = [&](const std::string& name) {
    if (name == "host.tick" &&
        std::filesystem::exists(bench.device.scratch / "mnt/state/rollback-health-breadcrumb")) {
      throw PowerCut();  // before the hook that points the bootloader at the new OS
    }
  };
  CHECK_THROWS_AS(bench.take_medium(), PowerCut);
  bench.device.faults.on_call = nullptr;
  bench.device.host.rollback_health_is_late = true;
  bench.device.reboot();
  const auto outcome = bench.start();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kReverted);
  check_in_order(bench);
  CHECK(bench.device.host.read("mnt/boot/os-release").find("6.5.3") != std::string::npos);
}

TEST_CASE("os recovery: what the OS's own updater was told about the supervisor does not count") {
  const bool good = GENERATE(true, false);
  const OsBundle bundle;
  UpdateBench bench(bundle);
  auto& device = bench.device;
  const std::string cloud = "SUPERVISOR_IMAGE=supervisor\nSUPERVISOR_VERSION=v17.7.0\n";
  device.waiter.at_each_wait = [&](auto) {  // the device was online for a moment
    const auto entry = bench.journal_entry();
    if (entry && entry->phase == Phase::kConfirmingOs) {
      device.host.write(FakeHost::kSupervisorOverride, cloud);
    }
  };
  if (!good) {
    device.supervisor.broken_images.insert(OsBundle::kSupervisorName);
  }
  CHECK(run_to_the_end(bench).result == (good ? RunResult::kUpdated : RunResult::kReverted));
  check_in_order(bench);
  CHECK_FALSE(std::filesystem::exists(device.scratch / FakeHost::kSupervisorOverride));
  if (good) {
    check_all_new(bench);
  }
}

TEST_CASE("os recovery: a newer supervisor that the cloud has brought meanwhile stays") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  auto& device = bench.device;
  const std::string cloud = "SUPERVISOR_IMAGE=cloud\nSUPERVISOR_VERSION=v19.0.5\n";
  device.engine.stored[digest_of("cloud")] = {{"cloud:latest"}, {digest_of("layer of cloud")}};
  bool older_started = false;
  device.faults.on_call = [&](const std::string& call) {
    const auto entry = bench.journal_entry();
    const auto conf = device.host.read(FakeHost::kSupervisorConf);
    if (entry && entry->phase == Phase::kConfirmingOs && conf != cloud) {
      device.host.write(FakeHost::kSupervisorConf, cloud);
    }
    older_started = older_started || (call == "services.start supervisor.service" &&
                                      conf.find("v18.0.0") != std::string::npos);
  };
  const auto outcome = run_to_the_end(bench);
  CAPTURE(outcome.error ? outcome.error->message() : "");
  CHECK(outcome.result == RunResult::kUpdated);
  CHECK_FALSE(older_started);
  CHECK(device.host.read(FakeHost::kSupervisorConf) == cloud);
  CHECK(runs_new_release(bench));
  CHECK(config_of(bench)["country"] == "CH");
  check_in_order(bench);
}

TEST_CASE("os recovery: going back leads to the supervisor that the device had last") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  auto& device = bench.device;
  device.supervisor.broken_images.insert(OsBundle::kSupervisorName);
  const std::string cloud = "SUPERVISOR_IMAGE=cloud\nSUPERVISOR_VERSION=v17.9.0\n";
  device.engine.stored[digest_of("cloud")] = {{"cloud:latest"}, {digest_of("layer of cloud")}};
  device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    if (entry && entry->phase == Phase::kConfirmingOs) {
      device.host.write(FakeHost::kSupervisorConf, cloud);
    }
  };
  CHECK(run_to_the_end(bench).result == RunResult::kReverted);
  CHECK(device.host.read(FakeHost::kSupervisorConf) == cloud);
  check_in_order(bench);
}

TEST_CASE("os recovery: a database backup of an earlier update is never gone back to") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  auto& device = bench.device;
  device.supervisor.broken_images.insert(OsBundle::kSupervisorName);
  (void)device.scratch.write("supervisor-database.before-supervisor", std::string(32, '0'));
  // The OS was told of the new one before, and runs the old one on until it is restarted.
  device.host.write(FakeHost::kSupervisorConf, std::string("LED_FILE=x\nSUPERVISOR_IMAGE=") +
                                                   OsBundle::kSupervisorName +
                                                   "\nSUPERVISOR_VERSION=v18.0.0\n");
  const std::string old = "SUPERVISOR_IMAGE=supervisor\nSUPERVISOR_VERSION=v17.6.23\n";
  device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    if (!entry || entry->phase == Phase::kConfirmingOs) {
      device.host.write(FakeHost::kSupervisorOverride, old);
    }
  };
  device.host.write(FakeHost::kSupervisorOverride, old);
  CHECK(run_to_the_end(bench).result == RunResult::kReverted);
  check_in_order(bench);
  CHECK(device.supervisor.database.rows.front().commit == std::string(32, '1'));
  CHECK(device.host.read(FakeHost::kSupervisorConf) == old);
}

TEST_CASE("os recovery: a device that is moved to another fleet during the update stays there") {
  const OsBundle bundle({.release = false, .supervisor = false, .config = false});
  UpdateBench bench(bundle);
  bench.device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    if (entry && entry->phase == Phase::kConfirmingOs) {
      auto config = config_of(bench);
      config["applicationId"] = 8;
      bench.device.host.write("mnt/boot/config.json", config.dump());
    }
  };
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  CHECK(config_of(bench)["applicationId"] == 8);
  CHECK(config_of(bench)["deviceApiKey"] == "secret");
}

TEST_CASE("os recovery: a network profile that the bundle replaces comes back with the release") {
  const bool good = GENERATE(true, false);
  const OsBundle bundle;
  UpdateBench bench(bundle);
  auto& device = bench.device;
  constexpr const char* kSite = "mnt/boot/system-connections/site.nmconnection";
  device.host.write(kSite, "[connection]\nid=old\n");
  device.waiter.at_each_wait = [&](auto) {  // somebody enters a new passphrase meanwhile
    const auto entry = bench.journal_entry();
    if (entry && entry->phase == Phase::kConfirmingOs) {
      device.host.write(kSite, "[connection]\nid=newer\n");
    }
  };
  if (!good) {
    device.engine.behaviours[bundle.image(0)] = Behaviour::kCrashes;
    device.faults.on_call = [&](const std::string& call) {  // and it is done in two goes
      if (call == "database.back_up" &&
          device.host.read(kSite).find("id=site") != std::string::npos) {
        device.faults.on_call = nullptr;
        throw PowerCut();
      }
    };
  }
  CHECK(run_to_the_end(bench).result == (good ? RunResult::kUpdated : RunResult::kReverted));
  CHECK(device.host.read(kSite) == (good ? "[connection]\nid=site\n" : "[connection]\nid=newer\n"));
  check_in_order(bench);
}

TEST_CASE("os recovery: settings are not changed while another update of the OS is open") {
  SignedBundle bundle;
  bundle.built.manifest.config.patch_json = R"({"country":"CH"})";
  bundle.sign();
  UpdateBench bench(bundle);
  auto& host = bench.device.host;
  const auto begin_other_update = [&] { host.write("mnt/state/rollback-health-breadcrumb", ""); };
  const auto end_other_update = [&] {
    std::filesystem::remove(bench.device.scratch / "mnt/state/rollback-health-breadcrumb");
  };
  SECTION("from the beginning: it is refused") {
    begin_other_update();
    const auto outcome = bench.take_medium();
    CHECK(outcome.result == RunResult::kRefused);
    REQUIRE(outcome.error);
    CHECK(outcome.error->code() == ErrorCode::kOsUnconfirmed);
    CHECK_FALSE(bench.journal_entry());
  }
  SECTION("begun during the pull: it is waited for") {
    bench.device.engine.during_pull = begin_other_update;
    const auto outcome = bench.take_medium();
    CHECK(outcome.result == RunResult::kInterrupted);
    REQUIRE(outcome.error);
    CHECK(outcome.error->code() == ErrorCode::kOsUnconfirmed);
    CHECK_FALSE(config_of(bench).contains("country"));
    CHECK(bench.start()->result == RunResult::kInterrupted);
    bench.device.engine.during_pull = nullptr;
  }
  CHECK_FALSE(config_of(bench).contains("country"));
  CHECK_FALSE(runs_new_release(bench));
  end_other_update();
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  CHECK(config_of(bench)["country"] == "CH");
}

TEST_CASE("os recovery: a release that the cloud has named meanwhile stays") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  const std::string by_cloud(32, '9');
  bench.device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    if (entry && entry->phase == Phase::kConfirmingOs) {
      bench.device.supervisor.database.rows.front().commit = by_cloud;
    }
  };
  const auto outcome = run_to_the_end(bench);
  CHECK(outcome.result == RunResult::kReverted);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == ErrorCode::kSupervisorState);
  check_in_order(bench);
  CHECK(bench.device.supervisor.database.rows.front().commit == by_cloud);
  CHECK_FALSE(config_of(bench).contains("country"));
  const auto digest = oci::Digest::parse(outcome.bundle_digest);
  REQUIRE(digest);
  CHECK_FALSE(bench.ledger().find(*digest));  // it may be tried again
}

TEST_CASE("os recovery: the install command goes on with an OS that still needs its medium") {
  const OsBundle stick;
  UpdateBench bench(stick);
  std::stop_source stop;
  bench.device.faults.on_call = [&](const std::string& name) {
    if (name == "services.run offline-updater-os.service") {
      stop.request_stop();
    }
  };
  REQUIRE(bench.take_medium(stop.get_token()).result == RunResult::kInterrupted);
  bench.device.faults.on_call = nullptr;
  bench.config.trust_file =
      bench.device.scratch.write("trust", bundle::to_public_key_file(stick.key.public_key()));
  const agent::record::OutcomeStore outcomes(bench.config.state_dir);
  const auto install = [&](agent::Device& device) {
    return agent::install_command(device, outcomes, {.path = stick.medium.path()}, {});
  };
  CHECK_THROWS_AS(bench.with_device(install), PowerCut);  // the device restarts into the new OS
  bench.device.reboot();
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  check_in_order(bench);
  check_all_new(bench);
}

TEST_CASE("os recovery: an OS that turns out wrong after the agent was started again is undone") {
  const bool with_medium = GENERATE(true, false);
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.behaviour = OsBehaviour::kNoBreadcrumbs;
  bench.device.faults.on_call = [&](const std::string& name) {
    if (name == "services.report offline-updater-os.service" &&
        bench.device.host.report("offline-updater-os.service").state ==
            agent::install::UnitState::kSucceeded) {
      throw PowerCut();  // of the agent alone
    }
  };
  CHECK_THROWS_AS(bench.take_medium(), PowerCut);
  bench.device.faults.on_call = nullptr;
  const auto outcome = run_to_the_end(bench, with_medium);
  CHECK(outcome.result == RunResult::kFailed);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == ErrorCode::kOsCheck);
  check_in_order(bench);
  check_all_old(bench);
}

TEST_CASE("os recovery: a release is gone back from also where config.json cannot be changed") {
  const OsBundle bundle({.release = true, .supervisor = false, .config = true});
  UpdateBench bench(bundle);
  auto& device = bench.device;
  device.engine.behaviours[bundle.image(0)] = Behaviour::kCrashes;
  std::string changed;
  device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    if (changed.empty() && entry && entry->phase == Phase::kConfirming) {
      changed = device.host.read("mnt/boot/config.json");
      device.host.write("mnt/boot/config.json", "{");
    }
  };
  std::optional<agent::record::RunOutcome> outcome;
  for (int start = 0; start < kMaxStarts && !outcome; ++start) {
    try {
      outcome = bench.start();
      outcome = outcome ? outcome : bench.take_medium();
    } catch (const PowerCut&) {
      device.reboot();
    }
  }
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kInterrupted);
  REQUIRE(outcome->error);
  CHECK(outcome->error->code() == ErrorCode::kRollbackFailed);
  CHECK_FALSE(runs_new_release(bench));
  CHECK(device.running_images().at("s0") == digest_of("s0"));
  CHECK(device.supervisor.runs);
  REQUIRE(bench.journal_entry());

  // Tried again, without touching the release.
  device.faults.disarm();
  CHECK(bench.start()->result == RunResult::kInterrupted);
  const auto& calls = device.faults.names();
  CHECK(std::count(calls.begin(), calls.end(), "database.write_target") == 0);

  REQUIRE(changed.find("\"country\":\"CH\"") != std::string::npos);
  device.host.write("mnt/boot/config.json", changed);
  outcome = bench.start();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kReverted);
  REQUIRE(outcome->error);
  CHECK(outcome->error->code() == ErrorCode::kReleaseUnhealthy);
  CHECK_FALSE(config_of(bench).contains("country"));
  check_in_order(bench);
}
