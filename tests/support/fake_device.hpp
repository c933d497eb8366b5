// A whole device in memory: an engine, a supervisor with its database and API, systemd units and a
// clock. It keeps state as the real ones do, and can fail or lose power at any single call.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "boot/waiter.hpp"
#include "install/apps_step.hpp"
#include "install/engine.hpp"
#include "install/supervisor.hpp"
#include "support/fake_host.hpp"
#include "support/faults.hpp"
#include "support/scratch.hpp"

namespace support {

/// What the containers of an image do once they run.
enum class Behaviour { kGood, kCrashes, kUnhealthy };

class FakeEngine final : public agent::install::Engine {
 public:
  struct Image {
    std::set<std::string> names;  // tags, and references with a digest
    std::vector<oci::Digest> diff_ids;
  };
  explicit FakeEngine(Faults& faults) : faults_(faults) {}

  base::Result<agent::install::EngineFacts> facts() override;
  base::Result<std::vector<agent::install::EngineImage>> images() override;
  base::Result<std::optional<agent::install::EngineImage>> find_image(
      const std::string& reference) override;
  /// Reads the manifest and the layers that are missing from the loopback registry. When that cuts
  /// the connection, tries for ever as engines do: until it is stopped.
  base::Status pull(const std::string& reference, std::chrono::seconds stall_timeout,
                    const std::function<bool()>& alive, std::stop_token stop) override;
  base::Status tag(const oci::Digest& image, const std::string& name) override;
  base::Status untag(const std::string& name) override;
  base::Status remove_image(const oci::Digest& image) override;
  base::Result<std::vector<agent::install::EngineContainer>> containers() override;

  /// As the supervisor does it: no faults, no counting.
  base::Status remove_name(const std::string& name);
  [[nodiscard]] const oci::Digest* find(const std::string& reference) const;
  /// All names in the engine.
  [[nodiscard]] std::set<std::string> names() const;

  std::map<oci::Digest, Image> stored;
  std::vector<agent::install::EngineContainer> running;
  std::map<oci::Digest, Behaviour> behaviours;
  std::function<void()> during_pull;  // called when a pull begins
  int lost_pulls = 0;                 // that many pulls end with the engine gone
  bool away = false;                  // does not answer containers()
  base::ErrorCode tag_failure = base::ErrorCode::kEngine;  // of a call that is made to fail
  std::set<oci::Digest> damaged;  // it lists these and cannot describe them

 private:
  Faults& faults_;
};

class FakeDatabase final : public agent::install::SupervisorDatabase {
 public:
  FakeDatabase(Faults& faults, const bool& supervisor_runs)
      : faults_(faults), supervisor_runs_(supervisor_runs) {}
  base::Status check_schema() override;
  base::Result<std::vector<agent::install::AppRow>> apps() override;
  base::Result<std::optional<std::string>> config_value(const std::string& key) override;
  base::Result<std::optional<std::string>> api_key() override;
  base::Status back_up(const std::filesystem::path& path) override;
  base::Status restore(const std::filesystem::path& path) override;
  base::Status write_target(const agent::install::AppRow& row,
                            const std::optional<std::string>& pin) override;

  std::vector<agent::install::AppRow> rows;
  std::map<std::string, std::string> config;
  std::vector<std::string> misuse;  // calls that were made while the supervisor ran

 private:
  Faults& faults_;
  const bool& supervisor_runs_;
};

/// Applies the database's first row while it runs: images are looked up by their ":latest" names,
/// containers replaced, and the names of what was there before removed.
class FakeSupervisor final : public agent::install::SupervisorApi,
                             public agent::install::ServiceManager {
 public:
  FakeSupervisor(Faults& faults, FakeEngine& engine, FakeHost& host,
                 std::filesystem::path update_locks)
      : faults_(faults),
        engine_(engine),
        host_(host),
        update_locks_(std::move(update_locks)),
        database(faults, runs) {}

  base::Result<agent::install::SupervisorStatus> status() override;
  base::Result<std::string> version() override;
  base::Status stop(const std::string& unit, std::chrono::seconds timeout) override;
  base::Status start(const std::string& unit, std::chrono::seconds timeout) override;
  base::Result<bool> is_active(const std::string& unit) override;
  base::Status run(const agent::install::TransientUnit& unit) override;
  base::Result<agent::install::UnitReport> report(const std::string& unit) override;
  base::Status forget(const std::string& unit, std::chrono::seconds timeout) override;

  /// One round of the supervisor's own work, and of what the containers do.
  void tick();

 private:
  void apply();
  void run_containers() const;

  Faults& faults_;
  FakeEngine& engine_;
  FakeHost& host_;
  std::filesystem::path update_locks_;

 public:
  bool runs = true;
  bool timer_runs = true;
  FakeDatabase database;
  std::string applied;                         // commit whose containers run
  std::set<std::string> known_names;           // of images that it has brought or taken over
  std::map<std::string, std::string> volumes;  // name to data
  std::string volumes_json;                    // definitions that the volumes were made with
  std::set<std::string> broken_images;         // of supervisors that do not start
  base::ErrorCode unit_failure = base::ErrorCode::kServiceManager;  // of stop and start
};

/// Time passes only by waiting; with each second the device goes on.
class FakeWaiter final : public agent::boot::Waiter {
 public:
  FakeWaiter(Faults& faults, std::function<void()> tick)
      : faults_(faults), tick_(std::move(tick)) {}
  bool wait(std::chrono::milliseconds duration, const std::stop_token& stop) override;
  std::chrono::milliseconds now() override { return now_; }

  std::function<void(std::chrono::milliseconds now)> at_each_wait;

 private:
  Faults& faults_;
  std::function<void()> tick_;
  std::chrono::milliseconds now_{0};
};

/// Progress is told between the steps: a good place for a power cut.
class FakeProgress final : public base::ProgressSink {
 public:
  explicit FakeProgress(Faults& faults) : faults_(faults) {}
  void phase(std::string_view name, std::uint64_t total) override;
  void advance(std::uint64_t done) override;

 private:
  Faults& faults_;
};

/// A device that runs release 1111... of fleet ffff... (app 7): services "s0" and "old", a volume
/// "data", all names in order, supervisor and timer running.
struct FakeDevice {
  static constexpr std::uint64_t kApp = 7;
  FakeDevice();

  [[nodiscard]] agent::install::SupervisorAccess access();
  [[nodiscard]] std::filesystem::path locks_of(const std::string& service) const {
    return update_locks / std::to_string(kApp) / service;
  }
  /// Image IDs that containers of the app run, by service.
  [[nodiscard]] std::map<std::string, oci::Digest> running_images() const;
  /// The power comes back: systemd starts the supervisor, the engine its containers.
  void reboot();

  Scratch scratch;
  std::filesystem::path update_locks = scratch / "tmp/balena-supervisor/services";
  Faults faults;
  FakeEngine engine{faults};
  FakeHost host{faults, scratch.path()};
  FakeSupervisor supervisor{faults, engine, host, update_locks};
  FakeWaiter waiter{faults, [this] {
                      supervisor.tick();
                      host.tick();
                    }};
  FakeProgress progress{faults};
};

/// A digest of a text, for IDs that nothing checks.
oci::Digest digest_of(const std::string& text);

}  // namespace support
