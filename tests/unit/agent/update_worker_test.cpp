#include "update_worker.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <future>

#include "staged_updates.hpp"
#include "support/update_bench.hpp"

namespace {

using support::Behaviour;
using support::SignedBundle;
using support::UpdateBench;

/// No medium is ever there.
class NoMounter final : public agent::media::Mounter {
 public:
  base::Result<std::vector<agent::media::Volume>> probe(const agent::media::Medium&) override {
    return base::Error(base::ErrorCode::kMediumGone, "there is none");
  }
  base::Result<std::set<dev_t>> system_disks() override { return std::set<dev_t>{}; }
  base::Result<std::unique_ptr<agent::media::Mount>> mount(const agent::media::Volume&,
                                                           agent::media::Access) override {
    return base::Error(base::ErrorCode::kMediumGone, "there is none");
  }
};

}  // namespace

TEST_CASE("update worker: an update that cannot be brought to its end yet is tried again") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  auto& faults = bench.device.faults;
  bench.device.engine.behaviours[bundle.image(0)] = Behaviour::kCrashes;
  faults.on_call = [](const std::string& call) {
    if (call == "progress.phase going back to the previous release") {
      throw support::PowerCut();
    }
  };
  REQUIRE_THROWS_AS(bench.take_medium(), support::PowerCut);
  REQUIRE(bench.journal_entry()->phase == agent::record::Phase::kReverting);
  bench.device.reboot();

  // systemd does not answer the first three times.
  std::promise<void> reverted;
  faults.on_call = [&, refusals = 0](const std::string& call) mutable {
    if (call == "services.stop supervisor.timer" && ++refusals <= 3) {
      faults.fail_this_call();
    } else if (call == "progress.phase reverted") {
      reverted.set_value();
    }
  };
  auto ledger = bench.ledger();
  agent::Device world{bench.config,
                      bench.device.engine,
                      bench.device.supervisor.database,
                      bench.device.supervisor,
                      bench.device.supervisor,
                      bench.journal,
                      ledger,
                      bench.device.progress,
                      bench.device.waiter};
  NoMounter mounter;
  const agent::record::OutcomeStore outcomes(bench.config.state_dir);
  agent::UpdateWorker worker(world, mounter, {}, bundle.trust(), outcomes);
  REQUIRE(worker.start());
  REQUIRE(reverted.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
  worker.stop();
  CHECK_FALSE(bench.journal_entry());
  CHECK(bench.device.running_images().at("s0") == support::digest_of("s0"));
  CHECK(bench.device.waiter.now() >= std::chrono::seconds(180));
  const auto last = outcomes.last();
  REQUIRE(last);
  REQUIRE(*last);
  CHECK_THAT(**last, Catch::Contains("reverted"));
}

TEST_CASE("update worker: an installation of an OS that cannot be undone yet is tried again") {
  const support::OsBundle bundle;
  UpdateBench bench(bundle);
  bench.config.wait_for_medium = std::chrono::seconds(1);
  auto& faults = bench.device.faults;
  std::stop_source stop;
  faults.on_call = [&](const std::string& call) {
    if (call == "services.run offline-updater-os.service") {
      stop.request_stop();
    }
  };
  REQUIRE(bench.take_medium(stop.get_token()).result == agent::record::RunResult::kInterrupted);

  std::promise<void> failed;
  faults.on_call = [&, refusals = 0](const std::string& call) mutable {
    if (call == "services.run offline-updater-os-undo.service" && ++refusals <= 2) {
      faults.fail_this_call();
    } else if (call == "progress.phase failed") {
      failed.set_value();
    }
  };
  auto ledger = bench.ledger();
  agent::Device world{bench.config,
                      bench.device.engine,
                      bench.device.supervisor.database,
                      bench.device.supervisor,
                      bench.device.supervisor,
                      bench.journal,
                      ledger,
                      bench.device.progress,
                      bench.device.waiter};
  NoMounter mounter;
  const agent::record::OutcomeStore outcomes(bench.config.state_dir);
  agent::UpdateWorker worker(world, mounter, {}, bundle.trust(), outcomes);
  REQUIRE(worker.start());
  REQUIRE(failed.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
  worker.stop();
  CHECK_FALSE(bench.journal_entry());
  CHECK(bench.device.host.is_settled());
  CHECK(bench.device.host.running_version() == support::FakeHost::kOldVersion);
}

TEST_CASE("update worker: a copy is installed without a medium when its window opens") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  bench.config.windows = *agent::parse_windows("02:00-04:00");
  REQUIRE(bench.take_medium().result == agent::record::RunResult::kStaged);
  std::promise<void> updated;
  bench.device.faults.on_call = [&](const std::string& call) {
    if (call == "progress.phase updated") {
      updated.set_value();
    }
  };
  auto ledger = bench.ledger();
  std::atomic<int> looks = 0;
  agent::Device world{bench.config, bench.device.engine, bench.device.supervisor.database,
                      bench.device.supervisor, bench.device.supervisor, bench.journal, ledger,
                      bench.device.progress, bench.device.waiter,
                      // One second too early, until it was looked at a few times.
                      [&looks] { return std::uint64_t{2 * 3600} - (++looks < 4 ? 1 : 0); }};
  NoMounter mounter;
  const agent::record::OutcomeStore outcomes(bench.config.state_dir);
  agent::UpdateWorker worker(world, mounter, {}, bundle.trust(), outcomes);
  REQUIRE(worker.start());
  REQUIRE(updated.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
  worker.stop();
  CHECK(looks >= 4);
  CHECK(bench.device.running_images().at("s0") == bundle.image(0));
  CHECK_FALSE(agent::staging_area(bench.config).any());
}
