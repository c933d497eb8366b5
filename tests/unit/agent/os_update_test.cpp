// The host OS as part of an update, on a device in memory: how it ends in each case, and that it
// ends in order wherever the power goes.
#include "record/identity_backup.hpp"
#include "support/os_checks.hpp"

namespace {

using agent::record::RunResult;
using base::ErrorCode;
using namespace support;

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

TEST_CASE("os update: wherever the power goes or the agent ends, the device ends in order") {
  const bool agent_alone = GENERATE(false, true);
  const auto behaviour = GENERATE(OsBehaviour::kGood, OsBehaviour::kUnhealthy);
  const auto kind = GENERATE(Faults::Kind::kCutBefore, Faults::Kind::kCutAfter);
  const bool with_medium = GENERATE(true, false);
  if (agent_alone && (kind == Faults::Kind::kCutBefore || !with_medium)) {
    return;  // to end before a call is to end after the one before it
  }
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
