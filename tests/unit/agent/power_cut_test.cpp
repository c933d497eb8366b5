// An update is cut at every call that it makes of the world; the next start has to come to an end
// that is one of two: the new release runs, or the old one does, with nothing left behind.
#include <catch2/catch.hpp>

#include "install/pull_step.hpp"
#include "support/update_bench.hpp"

namespace {

using agent::record::RunOutcome;
using agent::record::RunResult;
using support::Behaviour;
using support::digest_of;
using support::Faults;
using support::PowerCut;
using support::SignedBundle;
using support::UpdateBench;

enum class Release { kGood, kCrashing };
/// What happens to the rest of the device when the agent is cut off.
enum class Cut { kPower, kAgentAlone };

const std::map<std::string, oci::Digest> kOldImages{{"old", digest_of("old")},
                                                    {"s0", digest_of("s0")}};

std::map<std::string, oci::Digest> new_images(const SignedBundle& bundle) {
  return {{"s0", bundle.image(0)}, {"s1", bundle.image(1)}};
}

/// What holds after every update that has come to its end.
void check_in_order(const UpdateBench& bench) {
  const auto& device = bench.device;
  const bool updated = device.running_images() == new_images(*bench.medium);
  CHECK((updated || device.running_images() == kOldImages));
  CHECK(device.supervisor.runs);
  CHECK(device.supervisor.timer_runs);
  CHECK(device.supervisor.applied == device.supervisor.database.rows.front().commit);
  CHECK(device.supervisor.applied == std::string(32, updated ? '2' : '1'));
  CHECK(device.supervisor.volumes.at("data") == "what users made");
  CHECK(device.supervisor.database.misuse.empty());
  CHECK(device.supervisor.database.config.contains("pinDevice") == updated);
  CHECK_FALSE(bench.journal_entry());
}

void check_nothing_left(const UpdateBench& bench) {
  CHECK(bench.device.engine.names().size() == 3);  // two services' and the supervisor's
  CHECK(bench.device.engine.stored.size() == 3);
  for (const auto& name : bench.device.engine.names()) {
    CHECK_FALSE(agent::install::is_keep_tag(name));
  }
}

/// Starts the agent as often as it takes; twice is enough for anything but a cut of its own.
void finish(UpdateBench& bench) {
  (void)bench.start();
  const auto outcome = bench.take_medium();
  CAPTURE(outcome.error ? outcome.error->message() : "");
  CHECK(outcome.result != RunResult::kInterrupted);
}

/// \return whether the fault came to pass
bool run_with_fault(UpdateBench& bench, Faults::Kind kind, int call) {
  bench.device.faults.arm(kind, call);
  try {
    (void)bench.take_medium();
  } catch (const PowerCut&) {
  }
  const bool struck = bench.device.faults.struck();
  bench.device.faults.disarm();
  return struck;
}

void come_back(UpdateBench& bench, Cut cut) {
  if (cut == Cut::kPower) {
    bench.device.reboot();
  }
  bench.device.supervisor.tick();
}

void prepare(UpdateBench& bench, Release release) {
  if (release == Release::kCrashing) {
    bench.device.engine.behaviours[bench.medium->image(0)] = Behaviour::kCrashes;
  }
}

void check_end(const UpdateBench& bench, Release release) {
  check_in_order(bench);
  check_nothing_left(bench);
  const bool good = release == Release::kGood;
  CHECK(bench.device.running_images() == (good ? new_images(*bench.medium) : kOldImages));
  CHECK(bench.ledger().highest_sequence(std::string(32, 'f')) == (good ? 5 : 0));
}

}  // namespace

TEST_CASE("power cut: at any call of an update, the next start brings it to its end") {
  const auto release = GENERATE(Release::kGood, Release::kCrashing);
  const auto kind = GENERATE(Faults::Kind::kCutBefore, Faults::Kind::kCutAfter);
  const auto cut = GENERATE(Cut::kPower, Cut::kAgentAlone);
  const SignedBundle bundle;
  int call = 1;
  for (;; ++call) {
    UpdateBench bench(bundle);
    prepare(bench, release);
    CAPTURE(release, kind, cut, call);
    const bool struck = run_with_fault(bench, kind, call);
    if (!struck) {
      break;
    }
    come_back(bench, cut);
    finish(bench);
    check_end(bench, release);
  }
  CHECK(call > 70);
}

TEST_CASE("power cut: a second one while the first is being recovered from changes nothing") {
  const auto release = GENERATE(Release::kGood, Release::kCrashing);
  const SignedBundle bundle;
  int recoveries = 0;
  for (int call = 20;; call += 7) {
    UpdateBench bench(bundle);
    prepare(bench, release);
    if (!run_with_fault(bench, Faults::Kind::kCutBefore, call)) {
      break;
    }
    come_back(bench, Cut::kPower);
    bench.device.faults.arm(Faults::Kind::kCutAfter, 1 + call % 23);
    CAPTURE(release, call);
    try {
      (void)bench.start();
      (void)bench.take_medium();
    } catch (const PowerCut&) {
      ++recoveries;
    }
    bench.device.faults.disarm();
    come_back(bench, Cut::kPower);
    finish(bench);
    check_end(bench, release);
  }
  CHECK(recoveries > 5);
}

TEST_CASE("power cut: without the medium the device ends with one of the two releases") {
  const SignedBundle bundle;
  int given_up = 0;
  int call = 1;
  for (;; ++call) {
    UpdateBench bench(bundle);
    CAPTURE(call);
    if (!run_with_fault(bench, Faults::Kind::kCutAfter, call)) {
      break;
    }
    come_back(bench, Cut::kPower);
    (void)bench.start();
    given_up += bench.give_up_waiting() ? 1 : 0;
    check_in_order(bench);
    check_nothing_left(bench);
  }
  CHECK(given_up > 5);
}

TEST_CASE("update run: whichever single call fails, the device ends in order") {
  const auto release = GENERATE(Release::kGood, Release::kCrashing);
  const SignedBundle bundle;
  int call = 1;
  for (;; ++call) {
    UpdateBench bench(bundle);
    prepare(bench, release);
    if (!run_with_fault(bench, Faults::Kind::kError, call)) {
      break;
    }
    CAPTURE(release, call);
    (void)bench.start();
    bench.device.supervisor.tick();
    check_in_order(bench);
  }
  CHECK(call > 70);
}
