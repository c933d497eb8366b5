// The supervisor of a device in memory, and its database.
#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "install/release_row.hpp"
#include "install/supervisor_step.hpp"
#include "support/fake_device.hpp"

namespace support {
namespace {

using agent::install::AppRow;
using agent::install::EngineContainer;
using agent::install::latest_name;
using agent::install::SupervisorStatus;
using base::Error;
using base::ErrorCode;

}  // namespace

// The database

base::Status FakeDatabase::check_schema() {
  if (faults_.begin("database.check_schema")) {
    return broken(ErrorCode::kSupervisorSchema);
  }
  faults_.end();
  return base::ok();
}

base::Result<std::vector<AppRow>> FakeDatabase::apps() {
  if (faults_.begin("database.apps")) {
    return broken(ErrorCode::kSupervisorDatabase);
  }
  faults_.end();
  return rows;
}

base::Result<std::optional<std::string>> FakeDatabase::config_value(const std::string& key) {
  if (faults_.begin("database.config_value")) {
    return broken(ErrorCode::kSupervisorDatabase);
  }
  const auto found = config.find(key);
  faults_.end();
  return found == config.end() ? std::nullopt : std::optional(found->second);
}

base::Result<std::optional<std::string>> FakeDatabase::api_key() {
  return std::optional<std::string>("key");
}

base::Status FakeDatabase::back_up(const std::filesystem::path& path) {
  if (faults_.begin("database.back_up")) {
    return broken(ErrorCode::kSupervisorDatabase);
  }
  if (supervisor_runs_) {
    misuse.emplace_back("back_up");
  }
  std::ofstream(path) << rows.front().commit;
  faults_.end();
  return base::ok();
}

base::Status FakeDatabase::restore(const std::filesystem::path& path) {
  if (faults_.begin("database.restore")) {
    return broken(ErrorCode::kSupervisorDatabase);
  }
  if (supervisor_runs_) {
    misuse.emplace_back("restore");
  }
  std::ifstream(path) >> rows.front().commit;
  faults_.end();
  return base::ok();
}

base::Status FakeDatabase::write_target(const AppRow& row, const std::optional<std::string>& pin) {
  if (faults_.begin("database.write_target")) {
    return broken(ErrorCode::kSupervisorDatabase);
  }
  if (supervisor_runs_) {
    misuse.emplace_back("write_target");
  }
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const auto& known) { return known.uuid == row.uuid; });
  if (found == rows.end()) {
    return Error(ErrorCode::kSupervisorDatabase, "no row has changed");
  }
  *found = row;
  config.erase("pinDevice");
  if (pin) {
    config["pinDevice"] = *pin;
  }
  faults_.end();
  return base::ok();
}

// The supervisor

base::Result<SupervisorStatus> FakeSupervisor::status() {
  if (faults_.begin("api.status") || !runs) {
    return broken(ErrorCode::kSupervisorApi);
  }
  faults_.end();
  const bool done = applied == database.rows.front().commit;
  return SupervisorStatus{done ? "applied" : "applying", applied};
}

base::Result<std::string> FakeSupervisor::version() {
  if (faults_.begin("api.version") || !runs) {
    return broken(ErrorCode::kSupervisorApi);
  }
  faults_.end();
  auto conf = host_.read(FakeHost::kSupervisorOverride);
  conf = conf.empty() ? host_.read(FakeHost::kSupervisorConf) : conf;
  const auto name = agent::install::supervisor_image_in(conf);
  if (engine_.find(name + ":latest") == nullptr || broken_images.contains(name)) {
    return broken(ErrorCode::kSupervisorApi);
  }
  return agent::install::supervisor_version_in(conf);
}

base::Status FakeSupervisor::stop(const std::string& unit, std::chrono::seconds /*timeout*/) {
  if (faults_.begin("services.stop " + unit)) {
    return broken(unit_failure);
  }
  (unit == "supervisor.service" ? runs : timer_runs) = false;
  faults_.end();
  return base::ok();
}

base::Status FakeSupervisor::start(const std::string& unit, std::chrono::seconds /*timeout*/) {
  if (faults_.begin("services.start " + unit)) {
    return broken(unit_failure);
  }
  (unit == "supervisor.service" ? runs : timer_runs) = true;
  faults_.end();
  return base::ok();
}

base::Result<bool> FakeSupervisor::is_active(const std::string& unit) {
  return unit == "supervisor.service" ? runs : timer_runs;
}

base::Status FakeSupervisor::run(const agent::install::TransientUnit& unit) {
  if (faults_.begin("services.run " + unit.name)) {
    return broken(ErrorCode::kServiceManager);
  }
  OU_CHECK(host_.run(unit));
  faults_.end();
  return base::ok();
}

base::Result<agent::install::UnitReport> FakeSupervisor::report(const std::string& unit) {
  if (faults_.begin("services.report " + unit)) {
    return broken(ErrorCode::kServiceManager);
  }
  faults_.end();
  return host_.report(unit);
}

base::Status FakeSupervisor::forget(const std::string& unit, std::chrono::seconds /*timeout*/) {
  if (faults_.begin("services.forget " + unit)) {
    return broken(ErrorCode::kServiceManager);
  }
  host_.forget(unit);
  faults_.end();
  return base::ok();
}

void FakeSupervisor::tick() {
  if (runs) {
    apply();
  }
  run_containers();
}

void FakeSupervisor::run_containers() const {
  for (auto& container : engine_.running) {
    const auto found = engine_.behaviours.find(container.image_id);
    const auto behaviour = found == engine_.behaviours.end() ? Behaviour::kGood : found->second;
    if (behaviour == Behaviour::kCrashes) {
      container.restarting = true;
      container.exit_code = 42;
      container.restart_count += 1;
    } else if (behaviour == Behaviour::kUnhealthy) {
      container.health = "unhealthy";
    }
  }
}

void FakeSupervisor::apply() {
  const auto& row = database.rows.front();
  const auto services = agent::install::read_services(row);
  if (!services) {
    throw std::runtime_error("the row's services cannot be read");
  }
  if (applied != row.commit) {
    std::vector<EngineContainer> next;
    for (const auto& service : *services) {
      const auto* image = engine_.find(latest_name(service.image));
      if (image == nullptr) {
        return;  // it would download it, and there is no network
      }
      next.push_back({.id = service.name + row.commit,
                      .name = service.name,
                      .image_id = *image,
                      .labels = {{"io.balena.app-id", std::to_string(row.app_id)},
                                 {"io.balena.service-name", service.name}},
                      .running = service.running});
    }
    if (!agent::install::held_update_locks(update_locks_, row.app_id).empty()) {
      return;
    }
    if (volumes_json != row.volumes_json) {
      volumes.clear();  // it deletes and makes anew what is defined differently
      volumes_json = row.volumes_json;
    }
    std::erase_if(engine_.running, [](const auto& container) {
      return container.labels.contains("io.balena.app-id");
    });
    engine_.running.insert(engine_.running.end(), next.begin(), next.end());
  }
  std::set<std::string> wanted;
  for (const auto& service : *services) {
    wanted.insert(latest_name(service.image));
  }
  known_names.insert(wanted.begin(), wanted.end());
  for (auto it = known_names.begin(); it != known_names.end();) {
    if (!wanted.contains(*it)) {
      if (!engine_.remove_name(*it)) {
        return;  // it tries again, and is not done until then
      }
      it = known_names.erase(it);
    } else {
      ++it;
    }
  }
  applied = row.commit;
}

}  // namespace support
