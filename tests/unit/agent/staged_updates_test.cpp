// A bundle is copied to the device, the medium goes, and the copy is installed when it is time.
#include "staged_updates.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <future>

#include "support/update_bench.hpp"
#include "update_worker.hpp"

namespace {

namespace fs = std::filesystem;
using agent::record::RunResult;
using base::ErrorCode;
using support::digest_of;
using support::Faults;
using support::PowerCut;
using support::SignedBundle;
using support::UpdateBench;

constexpr std::uint64_t kNoon = std::uint64_t{20'000} * 24 * 3600 + 12 * 3600;
constexpr std::uint64_t kNight = kNoon + 14 * 3600;  // 02:00

/// A bundle that asks for staging.
struct StagedBundle : SignedBundle {
  explicit StagedBundle(std::uint64_t sequence = 5) : SignedBundle(sequence) {
    built.manifest.policy.stage = true;
    sign();
  }
  /// Nothing can be read from the medium any more.
  void pull() const { fs::remove_all(medium.path() / "a.bundle"); }
};

void set_window(UpdateBench& bench) {
  bench.config.windows = *agent::parse_windows("02:00-04:00");
  bench.clock = kNoon;
}

bool has_copy(const UpdateBench& bench) {
  return agent::staging_area(bench.config).any().has_value();
}

bool runs_new(const UpdateBench& bench) {
  return bench.device.running_images().at("s0") == bench.medium->image(0);
}

void check_updated(UpdateBench& bench) {
  CHECK(runs_new(bench));
  CHECK_FALSE(bench.journal_entry());
  CHECK_FALSE(has_copy(bench));
  CHECK(bench.ledger().highest_sequence(std::string(32, 'f')) == 5);
}

/// Changes the last byte of the largest blob of the copy.
void damage_copy(const UpdateBench& bench) {
  fs::path largest;
  for (const auto& entry :
       fs::directory_iterator(*agent::staging_area(bench.config).complete() / "blobs/sha256")) {
    if (largest.empty() || entry.file_size() > fs::file_size(largest)) {
      largest = entry.path();
    }
  }
  std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-1, std::ios::end);
  const auto last = static_cast<char>(file.get());
  file.seekp(-1, std::ios::end);
  file.put(static_cast<char>(last ^ 1));
}

}  // namespace

TEST_CASE("staging: a bundle that asks for it is copied, and installed without the medium") {
  const StagedBundle bundle;
  UpdateBench bench(bundle);
  const auto copied = bench.take_medium();
  REQUIRE(copied.result == RunResult::kStaged);
  CHECK(copied.sequence == 5);
  CHECK(copied.bytes_read > 200'000);
  CHECK_THAT(agent::record::to_text(copied), Catch::Contains("You can remove the medium"));
  CHECK_FALSE(runs_new(bench));
  CHECK_FALSE(bench.journal_entry());
  bundle.pull();
  const auto outcome = bench.take_copy();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("staging: an option asks for it, and direct installation is the default") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  SECTION("option") {
    bench.config.stage = true;
    CHECK(bench.take_medium().result == RunResult::kStaged);
    CHECK(has_copy(bench));
  }
  SECTION("default") {
    CHECK(bench.take_medium().result == RunResult::kUpdated);
    CHECK_FALSE(has_copy(bench));
  }
}

TEST_CASE("staging: with a window the copy is installed when it opens, not before") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  set_window(bench);
  CHECK(bench.take_medium().result == RunResult::kStaged);
  CHECK_FALSE(bench.take_copy());
  bench.clock = kNight - 1;
  CHECK_FALSE(bench.take_copy());
  CHECK(bench.take_medium().result == RunResult::kStaged);  // still in its port at the next start
  CHECK_FALSE(runs_new(bench));
  bench.clock = kNight;
  const auto outcome = bench.take_copy();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("staging: with a window and STAGE=false a medium waits until the window opens") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  set_window(bench);
  bench.config.stage = false;
  CHECK_FALSE(bench.look_at_medium());
  CHECK_FALSE(has_copy(bench));
  CHECK_FALSE(runs_new(bench));
  bench.clock = kNight;
  CHECK(bench.take_medium().result == RunResult::kUpdated);
}

TEST_CASE("staging: an installation that has begun goes on when the window has closed") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  set_window(bench);
  bench.clock = kNight;
  const bool direct = GENERATE(true, false);
  bench.config.stage = !direct;
  bench.device.engine.during_pull = [] { throw PowerCut(); };
  if (!direct) {
    REQUIRE(bench.take_medium().result == RunResult::kStaged);
    REQUIRE_THROWS_AS(bench.take_copy(), PowerCut);
  } else {
    REQUIRE_THROWS_AS(bench.take_medium(), PowerCut);
  }
  bench.device.engine.during_pull = nullptr;
  bench.device.reboot();
  bench.clock = kNoon;
  const auto outcome = direct ? bench.look_at_medium() : bench.take_copy();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("staging: a damaged copy is not installed and goes; the medium brings it again") {
  const StagedBundle bundle;
  UpdateBench bench(bundle);
  REQUIRE(bench.take_medium().result == RunResult::kStaged);
  damage_copy(bench);
  const auto outcome = bench.take_copy();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kFailed);
  REQUIRE(outcome->error);
  CHECK(outcome->error->code() == ErrorCode::kBlobAltered);
  CHECK_THAT(outcome->error->message(), Catch::Contains("copy on the device"));
  CHECK_FALSE(runs_new(bench));
  CHECK_FALSE(has_copy(bench));
  REQUIRE(bench.take_medium().result == RunResult::kStaged);
  CHECK(bench.take_copy()->result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("staging: a copy that does not verify any more is refused and goes") {
  const StagedBundle bundle;
  UpdateBench bench(bundle);
  REQUIRE(bench.take_medium().result == RunResult::kStaged);
  std::ofstream(*agent::staging_area(bench.config).complete() / "manifest.json", std::ios::app)
      << " ";
  const auto outcome = bench.take_copy();
  REQUIRE(outcome);
  CHECK(outcome->result == RunResult::kRefused);
  CHECK(outcome->error->code() == ErrorCode::kSignatureInvalid);
  CHECK_FALSE(has_copy(bench));
}

TEST_CASE("staging: the copy stays for the second try of an OS that did not start") {
  const StagedBundle bundle;
  UpdateBench bench(bundle);
  auto outcome = bench.take_medium();
  REQUIRE(outcome.result == RunResult::kStaged);
  outcome.result = RunResult::kReverted;
  const auto digest = *oci::Digest::parse(outcome.bundle_digest);
  const base::Error why(base::ErrorCode::kOsNotStarted, "did not start");
  bench.with_device([&](agent::Device& device) {
    REQUIRE(device.ledger.failed(digest, 5, 100, why, true));
    agent::forget_copy(device, outcome);
    CHECK(has_copy(bench));
    REQUIRE(device.ledger.failed(digest, 5, 200, why, true));
    agent::forget_copy(device, outcome);
    CHECK_FALSE(has_copy(bench));
  });
}

TEST_CASE("staging: while the device cannot be looked at, the copy is kept") {
  const StagedBundle bundle;
  UpdateBench bench(bundle);
  REQUIRE(bench.take_medium().result == RunResult::kStaged);
  bench.device.faults.on_call = [&](const std::string& call) {
    if (call.starts_with("engine.facts")) {
      bench.device.faults.fail_this_call();
    }
  };
  CHECK(bench.take_copy()->result == RunResult::kInterrupted);
  CHECK(has_copy(bench));
  bench.device.faults.on_call = nullptr;
  bench.device.faults.disarm();
  CHECK(bench.take_copy()->result == RunResult::kUpdated);
  check_updated(bench);
}

TEST_CASE("staging: a newer bundle replaces the copy, an older one does not") {
  const StagedBundle older(5);
  const StagedBundle newer(6);
  UpdateBench bench(older);
  set_window(bench);
  REQUIRE(bench.take_medium().result == RunResult::kStaged);
  bench.medium = &newer;
  REQUIRE(bench.take_medium().result == RunResult::kStaged);
  const auto copy = agent::staging_area(bench.config).complete();
  REQUIRE(copy);
  CHECK(agent::read_copy_facts(*copy)->sequence == 6);
  CHECK(std::distance(fs::directory_iterator(copy->parent_path()), fs::directory_iterator()) == 1);
  bench.medium = &older;
  const auto refused = bench.take_medium();
  CHECK(refused.result == RunResult::kRefused);
  CHECK(refused.error->code() == ErrorCode::kSequenceOld);
  CHECK(agent::staging_area(bench.config).complete() == copy);
}

TEST_CASE("staging: without room for copy and installation nothing is written") {
  const StagedBundle bundle;
  UpdateBench bench(bundle);
  const auto opened =
      agent::intake::open_bundle(*bundle.open().open_directory("a.bundle"), "a", bundle.trust());
  REQUIRE(opened);
  agent::intake::MediumChunks chunks(*bundle.open().open_directory("a.bundle"),
                                     std::chrono::seconds(1), nullptr);
  agent::plan::InstallPlan plan;
  plan.needed_bytes = std::uint64_t{1} << 60;
  const auto outcome = bench.with_device([&](agent::Device& world) {
    return agent::copy_bundle(world, plan, {}, *opened, chunks, {});
  });
  CHECK(outcome.result == RunResult::kRefused);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == ErrorCode::kNotEnoughSpace);
  CHECK_THAT(outcome.error->message(), Catch::Contains("1152921504607 MB for the installation"));
  CHECK_FALSE(has_copy(bench));
}

TEST_CASE("staging: a power cut at any call of an installation from the copy needs no medium") {
  const auto kind = GENERATE(Faults::Kind::kCutBefore, Faults::Kind::kCutAfter);
  int call = 1;
  for (;; ++call) {
    const StagedBundle bundle;
    UpdateBench bench(bundle);
    REQUIRE(bench.take_medium().result == RunResult::kStaged);
    bundle.pull();
    CAPTURE(kind, call);
    bench.device.faults.arm(kind, call);
    try {
      (void)bench.take_copy();
    } catch (const PowerCut&) {
    }
    const bool struck = bench.device.faults.struck();
    bench.device.faults.disarm();
    if (!struck) {
      break;
    }
    bench.device.reboot();
    bench.device.supervisor.tick();
    (void)bench.start();
    (void)bench.take_copy();  // what start() has finished is up to date
    check_updated(bench);
  }
  CHECK(call > 70);
}

TEST_CASE(
    "staging: a power cut at any call while the bundle is copied leaves the device as it was") {
  int call = 1;
  const StagedBundle bundle;
  for (;; ++call) {
    UpdateBench bench(bundle);
    CAPTURE(call);
    bench.device.faults.arm(Faults::Kind::kCutAfter, call);
    try {
      (void)bench.take_medium();
    } catch (const PowerCut&) {
    }
    const bool struck = bench.device.faults.struck();
    bench.device.faults.disarm();
    if (!struck) {
      break;
    }
    CHECK_FALSE(bench.journal_entry());
    CHECK_FALSE(runs_new(bench));
    REQUIRE(bench.take_medium().result == RunResult::kStaged);
    CHECK(bench.take_copy()->result == RunResult::kUpdated);
    check_updated(bench);
  }
  CHECK(call > 10);
}
