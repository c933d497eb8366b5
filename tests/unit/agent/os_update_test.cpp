// The host OS as part of an update, on a device in memory: how it ends in each case, and that it
// ends in order wherever the power goes.
#include <catch2/catch.hpp>

#include "base/json.hpp"
#include "commands.hpp"
#include "install/pull_step.hpp"
#include "record/identity_backup.hpp"
#include "support/update_bench.hpp"

namespace {

using agent::record::RunOutcome;
using agent::record::RunResult;
using base::ErrorCode;
using support::Behaviour;
using support::digest_of;
using support::FakeHost;
using support::Faults;
using support::OsBehaviour;
using support::OsBundle;
using support::PowerCut;
using support::UpdateBench;

constexpr int kMaxStarts = 12;

/// Takes the medium as often as it takes until there is an end, restarting the device whenever it
/// goes down. \param with_medium whether the stick stays in
RunOutcome run_to_the_end(UpdateBench& bench, bool with_medium = true) {
  for (int start = 0; start < kMaxStarts; ++start) {
    try {
      auto outcome = bench.start();
      if (!outcome && with_medium) {
        outcome = bench.take_medium();
      }
      if (!outcome) {
        outcome = bench.give_up_waiting();
      }
      if (outcome && outcome->result != RunResult::kInterrupted) {
        return *outcome;
      }
      if (!outcome) {
        return {.result = RunResult::kFailed, .error = {}};
      }
    } catch (const PowerCut&) {
      bench.device.reboot();
    }
  }
  FAIL("the update came to no end in " << kMaxStarts << " starts");
  return {};
}

base::Json config_of(const UpdateBench& bench) {
  return base::Json::parse(bench.device.host.read("mnt/boot/config.json"));
}

bool runs_new_release(const UpdateBench& bench) {
  return bench.device.supervisor.database.rows.front().commit == std::string(32, '2');
}

/// What holds at the end of everything, however it went.
void check_in_order(const UpdateBench& bench) {
  const auto& device = bench.device;
  CHECK(device.host.is_settled());
  CHECK(device.host.read("mnt/boot/EFI/BOOT/grub_extraenv") == "extra_os_cmdline=user");
  CHECK(device.supervisor.runs);
  CHECK(device.supervisor.timer_runs);
  CHECK(device.supervisor.database.misuse.empty());
  CHECK(device.supervisor.applied == device.supervisor.database.rows.front().commit);
  CHECK(device.supervisor.volumes.at("data") == "what users made");
  const auto config = config_of(bench);
  CHECK(config["uuid"] == std::string(32, 'd'));
  CHECK(config["deviceApiKey"] == "secret");
  CHECK(config["applicationId"] == 7);
  CHECK_FALSE(bench.journal_entry());
  for (const auto& name : device.engine.names()) {
    CHECK_FALSE(agent::install::is_keep_tag(name));
  }
  // The release is only ever switched on the new OS, and a supervisor that runs is never older.
  if (runs_new_release(bench)) {
    CHECK(device.host.running_version() == FakeHost::kNewVersion);
  }
}

void check_all_new(const UpdateBench& bench) {
  CHECK(bench.device.host.running_version() == FakeHost::kNewVersion);
  CHECK(runs_new_release(bench));
  CHECK(bench.device.host.read(FakeHost::kSupervisorConf) ==
        std::string("LED_FILE=x\nSUPERVISOR_IMAGE=") + OsBundle::kSupervisorName +
            "\nSUPERVISOR_VERSION=v18.0.0\n");
  CHECK(config_of(bench)["country"] == "CH");
  CHECK(config_of(bench)["hostname"] == "site-7");
  CHECK(bench.device.host.read("mnt/boot/system-connections/site.nmconnection") ==
        "[connection]\nid=site\n");
  CHECK(bench.ledger().highest_sequence(std::string(32, 'f')) == 5);
}

void check_all_old(const UpdateBench& bench) {
  CHECK(bench.device.host.running_version() == FakeHost::kOldVersion);
  CHECK_FALSE(runs_new_release(bench));
  CHECK_FALSE(config_of(bench).contains("country"));
  CHECK(bench.device.host.read(FakeHost::kSupervisorConf).find("17.6.23") != std::string::npos);
  CHECK(bench.ledger().highest_sequence(std::string(32, 'f')) == 0);
}

void check_goes_back(UpdateBench& bench, ErrorCode code) {
  const auto outcome = run_to_the_end(bench);
  CHECK(outcome.result == RunResult::kReverted);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == code);
  check_in_order(bench);
  check_all_old(bench);
}

/// Also with the stick still in: no loop.
void check_refused_from_now_on(UpdateBench& bench) {
  const auto again = bench.take_medium();
  REQUIRE(again.error);
  CHECK(again.error->code() == ErrorCode::kBundleFailedBefore);
}

}  // namespace

TEST_CASE("os update: OS, supervisor, settings and release, with one restart in between") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  const auto outcome = run_to_the_end(bench);
  CAPTURE(outcome.error ? outcome.error->message() : "");
  CHECK(outcome.result == RunResult::kUpdated);
  CHECK(outcome.from_os == FakeHost::kOldVersion);
  CHECK(outcome.to_os == FakeHost::kNewVersion);
  CHECK(bench.device.host.installations == 1);
  check_in_order(bench);
  check_all_new(bench);
  SECTION("the same bundle again has nothing to do") {
    CHECK(run_to_the_end(bench).result == RunResult::kUpToDate);
  }
  SECTION("both copies of the identity are there") {
    for (const auto& place :
         {bench.device.scratch / "mnt/state/offline-updater", bench.device.scratch.path()}) {
      const auto backup = agent::record::read_backup(place);
      REQUIRE(backup);
      CHECK(backup->files.at("EFI/BOOT/grub_extraenv") == "extra_os_cmdline=user");
    }
  }
}

TEST_CASE("os update: an OS alone leaves the release as it is") {
  const OsBundle bundle({.release = false, .supervisor = false, .config = false});
  UpdateBench bench(bundle);
  const auto outcome = run_to_the_end(bench);
  CAPTURE(outcome.error ? outcome.error->message() : "");
  CHECK(outcome.result == RunResult::kUpdated);
  CHECK(bench.device.host.running_version() == FakeHost::kNewVersion);
  CHECK_FALSE(runs_new_release(bench));
  check_in_order(bench);
}

TEST_CASE("os update: a device that runs the OS already only gets the release") {
  const OsBundle first({.release = false, .supervisor = false, .config = false});
  UpdateBench bench(first);
  REQUIRE(run_to_the_end(bench).result == RunResult::kUpdated);
  const OsBundle second;
  bench.medium = &second;
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  CHECK(bench.device.host.installations == 1);
  check_in_order(bench);
  check_all_new(bench);
}

TEST_CASE("os update: a unit that systemd has accepted and not begun is waited for") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.units_begin_late = true;
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  check_in_order(bench);
  check_all_new(bench);
}

TEST_CASE("os update: an OS that is not healthy is gone back from") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.behaviour = OsBehaviour::kUnhealthy;
  check_goes_back(bench, ErrorCode::kOsReverted);
  check_refused_from_now_on(bench);
}

TEST_CASE("os update: an OS that does not start is gone back from, twice") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.behaviour = OsBehaviour::kDoesNotBoot;
  check_goes_back(bench, ErrorCode::kOsNotStarted);
  check_goes_back(bench, ErrorCode::kOsNotStarted);  // the stick is still in
  CHECK(bench.device.host.installations == 2);
  check_refused_from_now_on(bench);
}

TEST_CASE("os update: a power cut while the OS starts costs one more try") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.behaviour = OsBehaviour::kDoesNotBoot;
  check_goes_back(bench, ErrorCode::kOsNotStarted);
  bench.device.host.behaviour = OsBehaviour::kGood;
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  check_in_order(bench);
  check_all_new(bench);
}

TEST_CASE("os update: a second try that is cut before it begins is no second failure") {
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

TEST_CASE("os update: an installation that goes wrong is undone before the restart") {
  const auto behaviour = GENERATE(OsBehaviour::kHooksFail, OsBehaviour::kNoBreadcrumbs);
  CAPTURE(behaviour);
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.host.behaviour = behaviour;
  const auto outcome = bench.take_medium();  // a restart would throw
  CHECK(outcome.result == RunResult::kFailed);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() ==
        (behaviour == OsBehaviour::kHooksFail ? ErrorCode::kOsInstall : ErrorCode::kOsCheck));
  check_in_order(bench);
  check_all_old(bench);
}

TEST_CASE("os update: a journal that cannot be written once the OS is there undoes it") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  const auto obstacle = bench.device.scratch / "journal.json.new";
  bench.device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    const bool installing = entry && entry->phase == agent::record::Phase::kInstallingOs;
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

TEST_CASE("os update: what a broken-off hook left is undone when the second try comes to nothing") {
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

TEST_CASE("os update: another program that begins to update the OS first is left alone") {
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

TEST_CASE("os update: boot files of an OS that never got its turn do not stay") {
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

TEST_CASE("os update: a release that crashes on the new OS is gone back from, the OS stays") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.engine.behaviours[bundle.image(0)] = Behaviour::kCrashes;
  const auto outcome = run_to_the_end(bench);
  CHECK(outcome.result == RunResult::kReverted);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == ErrorCode::kReleaseUnhealthy);
  CHECK(outcome.error->message().find("stays") != std::string::npos);
  check_in_order(bench);
  CHECK(bench.device.host.running_version() == FakeHost::kNewVersion);
  CHECK_FALSE(runs_new_release(bench));
  CHECK_FALSE(config_of(bench).contains("country"));
  // The new supervisor has run on the database: the old one must not be started on it again.
  CHECK(bench.device.host.read(FakeHost::kSupervisorConf).find("18.0.0") != std::string::npos);
}

TEST_CASE("os update: a supervisor that does not start is replaced by the old one") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bench.device.supervisor.broken_images.insert(OsBundle::kSupervisorName);
  const auto outcome = run_to_the_end(bench);
  CHECK(outcome.result == RunResult::kReverted);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == ErrorCode::kSupervisorApi);
  check_in_order(bench);
  CHECK(bench.device.host.read(FakeHost::kSupervisorConf).find("17.6.23") != std::string::npos);
}

TEST_CASE("os update: what the OS's own updater was told about the supervisor does not count") {
  const bool good = GENERATE(true, false);
  const OsBundle bundle;
  UpdateBench bench(bundle);
  auto& device = bench.device;
  const std::string cloud = "SUPERVISOR_IMAGE=supervisor\nSUPERVISOR_VERSION=v17.7.0\n";
  device.waiter.at_each_wait = [&](auto) {  // the device was online for a moment
    const auto entry = bench.journal_entry();
    if (entry && entry->phase == agent::record::Phase::kConfirmingOs) {
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

TEST_CASE("os update: a database backup of an earlier update is never gone back to") {
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
    if (!entry || entry->phase == agent::record::Phase::kConfirmingOs) {
      device.host.write(FakeHost::kSupervisorOverride, old);
    }
  };
  device.host.write(FakeHost::kSupervisorOverride, old);
  CHECK(run_to_the_end(bench).result == RunResult::kReverted);
  check_in_order(bench);
  CHECK(device.supervisor.database.rows.front().commit == std::string(32, '1'));
  CHECK(device.host.read(FakeHost::kSupervisorConf) == old);
}

TEST_CASE("os update: a release that the cloud has named meanwhile stays") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  const std::string by_cloud(32, '9');
  bench.device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    if (entry && entry->phase == agent::record::Phase::kConfirmingOs) {
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

TEST_CASE("os update: an identity that the OS loses is put back") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  bool lost = false;
  bench.device.waiter.at_each_wait = [&](auto) {
    const auto entry = bench.journal_entry();
    if (!lost && entry && entry->phase == agent::record::Phase::kConfirmingOs) {
      bench.device.host.write("mnt/boot/config.json", "{\"country\":\"DE\"");
      lost = true;
    }
  };
  CHECK(run_to_the_end(bench).result == RunResult::kUpdated);
  CHECK(lost);
  check_in_order(bench);
}

TEST_CASE("os update: an update lock keeps the device from being restarted") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  (void)bench.device.scratch.write("tmp/balena-supervisor/services/7/s0/updates.lock", "");
  const auto outcome = bench.take_medium();
  CHECK(outcome.result == RunResult::kInterrupted);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == ErrorCode::kUpdateLocked);
  std::filesystem::remove(bench.device.locks_of("s0") / "updates.lock");
  CHECK(run_to_the_end(bench, false).result == RunResult::kUpdated);
  check_in_order(bench);
}

TEST_CASE("os update: a stick with another bundle undoes what the first one has begun") {
  const OsBundle bundle;
  UpdateBench bench(bundle);
  std::stop_source stop;
  bench.device.faults.on_call = [&](const std::string& name) {
    if (name == "services.report offline-updater-os.service" &&
        bench.device.host.read("mnt/boot/os-release").find("6.6.0") != std::string::npos) {
      stop.request_stop();  // the agent is stopped with half of the boot files copied
    }
  };
  CHECK(bench.take_medium(stop.get_token()).result == RunResult::kInterrupted);
  bench.device.faults.on_call = nullptr;
  const support::SignedBundle other(6);
  bench.medium = &other;
  const auto outcome = bench.take_medium();
  CAPTURE(outcome.error ? outcome.error->message() : "");
  CHECK(outcome.result == RunResult::kUpdated);
  CHECK(bench.device.host.is_settled());
  CHECK(bench.device.host.running_version() == FakeHost::kOldVersion);
  CHECK(bench.device.host.read("mnt/boot/os-release").find("6.5.3") != std::string::npos);
}

TEST_CASE("os update: the install command goes on with an OS that still needs its medium") {
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

TEST_CASE("os update: wherever the power goes or the agent ends, the device ends in order") {
  const bool agent_alone = GENERATE(false, true);
  const auto behaviour = GENERATE(OsBehaviour::kGood, OsBehaviour::kUnhealthy);
  const auto kind = GENERATE(Faults::Kind::kCutBefore, Faults::Kind::kCutAfter);
  const bool with_medium = GENERATE(true, false);
  const OsBundle bundle;
  int updated = 0;
  int call = 1;
  for (;; ++call) {
    UpdateBench bench(bundle);
    bench.device.host.behaviour = behaviour;
    CAPTURE(agent_alone, behaviour, kind, with_medium, call);
    bench.device.faults.arm(kind, call);
    bool struck = false;
    for (int start = 0; start < kMaxStarts && !struck; ++start) {
      try {
        auto outcome = bench.start();
        if (!outcome) {
          outcome = bench.take_medium();
        }
        if (outcome->result != RunResult::kInterrupted) {
          CAPTURE(outcome->error ? outcome->error->message() : "");
          CHECK(outcome->result ==
                (behaviour == OsBehaviour::kGood ? RunResult::kUpdated : RunResult::kReverted));
          break;
        }
      } catch (const PowerCut&) {
        struck = bench.device.faults.struck();
        if (!struck) {
          bench.device.reboot();
        }
      }
    }
    if (!struck && bench.device.faults.calls() >= call) {
      continue;  // a call that never came back: the device was restarted in it
    }
    if (!struck) {
      break;
    }
    bench.device.faults.disarm();
    if (!agent_alone) {
      bench.device.reboot();
    }
    const auto outcome = run_to_the_end(bench, with_medium);
    CAPTURE(outcome.error ? outcome.error->message() : "");
    check_in_order(bench);
    if (outcome.result == RunResult::kUpdated || outcome.result == RunResult::kUpToDate) {
      ++updated;
      check_all_new(bench);
    } else {
      check_all_old(bench);
    }
    CHECK((outcome.result == RunResult::kUpdated) <= (behaviour == OsBehaviour::kGood));
  }
  CAPTURE(agent_alone, behaviour, kind, with_medium, call, updated);
  CHECK(call > (behaviour == OsBehaviour::kGood ? 120 : 60));
  CHECK((updated > 40) == (behaviour == OsBehaviour::kGood));
}
