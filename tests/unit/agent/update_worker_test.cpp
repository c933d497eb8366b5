#include "update_worker.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>
#include <future>

#include "base/files.hpp"
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

class DirectoryMount final : public agent::media::Mount {
 public:
  explicit DirectoryMount(std::filesystem::path path) : path_(std::move(path)) {}
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

 private:
  std::filesystem::path path_;
};

/// Disk number N is a USB stick whose file system is the directory media[N].
class DirectoryMounter final : public agent::media::Mounter {
 public:
  base::Result<std::vector<agent::media::Volume>> probe(
      const agent::media::Medium& medium) override {
    return std::vector{agent::media::Volume{.device = medium.disk, .file_system = "vfat"}};
  }
  base::Result<std::set<dev_t>> system_disks() override { return std::set<dev_t>{}; }
  base::Result<std::unique_ptr<agent::media::Mount>> mount(const agent::media::Volume& volume,
                                                           agent::media::Access access) override {
    writes += access == agent::media::Access::kReadWrite ? 1 : 0;
    return std::unique_ptr<agent::media::Mount>(
        std::make_unique<DirectoryMount>(media.at(volume.device.number)));
  }

  std::map<dev_t, std::filesystem::path> media;
  std::atomic<int> writes = 0;
};

const agent::media::MediaPolicy kSticks{
    .kinds = {agent::media::DeviceKind::kUsb}, .file_systems = {"vfat"}, .loop_files = {}};

agent::media::MediaEvent plugged_in(dev_t number) {
  return {agent::media::MediaEvent::Kind::kAppeared,
          {.disk = {"stick", number, 1}, .kind = agent::media::DeviceKind::kUsb}};
}

/// Names of the texts on a medium that a person reads.
std::vector<std::string> results_on(const std::filesystem::path& medium) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry :
       std::filesystem::directory_iterator(medium / "offline-updater-results", none)) {
    if (entry.path().extension() == ".txt") {
      names.push_back(entry.path().filename());
    }
  }
  return names;
}

/// An agent on the device in memory, from its start to its stop.
struct RunningAgent {
  RunningAgent(UpdateBench& bench, agent::media::Mounter& mounter, const bundle::Trust& trust)
      : ledger(bench.ledger()),
        outcomes(bench.config.state_dir),
        device{bench.config,
               bench.device.engine,
               bench.device.supervisor.database,
               bench.device.supervisor,
               bench.device.supervisor,
               bench.journal,
               ledger,
               bench.device.progress,
               bench.device.waiter},
        worker(device, mounter, kSticks, trust, outcomes) {}

  agent::record::Ledger ledger;
  agent::record::OutcomeStore outcomes;
  agent::Device device;
  agent::UpdateWorker worker;
};

}  // namespace

TEST_CASE("update worker: an update that waits for a lock says so on each stick, once") {
  const support::OsBundle bundle;
  const support::OsBundle other;
  UpdateBench bench(bundle);
  (void)bench.device.scratch.write("tmp/balena-supervisor/services/7/s0/updates.lock", "");
  DirectoryMounter mounter;
  mounter.media = {{1, bundle.medium.path()}, {2, other.medium.path()}};
  for (const bool second_stick : {false, true}) {  // the agent is started again with two sticks in
    std::promise<void> waited;
    bench.device.waiter.at_each_wait = [&, tries = 0](auto) mutable {
      if (++tries == 80) {  // ten attempts and more
        waited.set_value();
      }
    };
    RunningAgent agent(bench, mounter, bundle.trust());
    agent.worker.post(plugged_in(1));
    if (second_stick) {
      agent.worker.post(plugged_in(2));
    }
    agent.worker.start();
    REQUIRE(waited.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
    agent.worker.stop();
    const auto told = results_on(bundle.medium.path());
    REQUIRE(told.size() == 1);
    CHECK(told[0].find("-interrupted.txt") != std::string::npos);
    CHECK(results_on(other.medium.path()).size() == (second_stick ? 1 : 0));
    CHECK(mounter.writes == (second_stick ? 2 : 1));
  }
}

TEST_CASE("update worker: a stick that stays in gets the end of an update that had to wait") {
  SignedBundle bundle;
  bundle.built.manifest.config.patch_json = R"({"country":"CH"})";
  bundle.sign();
  UpdateBench bench(bundle);
  DirectoryMounter mounter;
  mounter.media = {{1, bundle.medium.path()}};
  const auto obstacle = bench.device.scratch / "mnt/state/rollback-health-breadcrumb";
  bench.device.engine.during_pull = [&] { std::ofstream(obstacle) << ""; };
  bench.device.waiter.at_each_wait = [&](auto now) {
    if (now > std::chrono::seconds(600)) {
      std::filesystem::remove(obstacle);
    }
  };
  std::promise<void> updated;
  bench.device.faults.on_call = [&](const std::string& call) {
    if (call == "progress.phase updated") {
      updated.set_value();
    }
  };
  RunningAgent agent(bench, mounter, bundle.trust());
  agent.worker.post(plugged_in(1));
  agent.worker.start();
  REQUIRE(updated.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
  agent.worker.stop();
  const auto results = results_on(bundle.medium.path());
  REQUIRE(results.size() == 2);
  CHECK(std::any_of(results.begin(), results.end(),
                    [](auto& name) { return name.ends_with("-interrupted.txt"); }));
  CHECK(std::any_of(results.begin(), results.end(),
                    [](auto& name) { return name.ends_with("-updated.txt"); }));
  CHECK(mounter.writes == 2);
}

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
  worker.start();
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
  worker.start();
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
  worker.start();
  REQUIRE(updated.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
  worker.stop();
  CHECK(looks >= 4);
  CHECK(bench.device.running_images().at("s0") == bundle.image(0));
  CHECK_FALSE(agent::staging_area(bench.config).any());
}

TEST_CASE("update worker: without its memory it answers every stick and changes nothing") {
  const std::string file = GENERATE("journal.json", "ledger.json");
  CAPTURE(file);
  const SignedBundle bundle;
  const SignedBundle other(6);
  UpdateBench bench(bundle);
  DirectoryMounter mounter;
  mounter.media = {{1, bundle.medium.path()}, {2, other.medium.path()}};
  RunningAgent agent(bench, mounter, bundle.trust());
  (void)bench.device.scratch.write(file, "{\"bundles\":");
  std::promise<void> updated;
  std::atomic<int> refused = 0;
  std::promise<void> both_refused;
  bench.device.faults.on_call = [&](const std::string& call) {
    if (call == "progress.phase refused" && ++refused == 2) {
      both_refused.set_value();
    } else if (call == "progress.phase updated") {
      updated.set_value();
    }
  };
  agent.worker.post(plugged_in(1));
  agent.worker.post(plugged_in(2));
  agent.worker.start();
  REQUIRE(both_refused.get_future().wait_for(std::chrono::seconds(60)) ==
          std::future_status::ready);
  CHECK(bench.device.running_images().at("s0") == support::digest_of("s0"));
  SECTION("it is repaired: what is plugged in then is installed, without a restart") {
    std::filesystem::remove(bench.device.scratch / file);
    agent.worker.post(plugged_in(1));
    REQUIRE(updated.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
  }
  SECTION("and the sticks say why") {
    agent.worker.stop();
    for (const auto& stick : {bundle.medium.path(), other.medium.path()}) {
      const auto results = results_on(stick);
      REQUIRE(results.size() == 1);
      const auto bytes = base::read_file(stick / "offline-updater-results" / results[0], 10'000);
      REQUIRE(bytes);
      CHECK(base::as_text(*bytes).find("600 journal") != std::string::npos);
    }
    for (const auto& call : bench.device.faults.names()) {
      CHECK_FALSE(call.starts_with("engine."));
      CHECK_FALSE(call.starts_with("services."));
      CHECK_FALSE(call.starts_with("database."));
    }
  }
  agent.worker.stop();
}
