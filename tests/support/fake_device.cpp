#include "support/fake_device.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/json.hpp"
#include "install/release_row.hpp"
#include "install/supervisor_step.hpp"
#include "support/http_client.hpp"

namespace support {
namespace {

using agent::install::AppRow;
using agent::install::EngineContainer;
using agent::install::EngineFacts;
using agent::install::EngineImage;
using agent::install::latest_name;
using agent::install::SupervisorStatus;
using base::Error;
using base::ErrorCode;

void wait_for_stop(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait(lock, stop, [] { return false; });
}

Error broken(ErrorCode code) {
  return {code, "made to fail"};
}

bool uses(const std::vector<EngineContainer>& containers, const oci::Digest& image) {
  return std::any_of(containers.begin(), containers.end(),
                     [&](const auto& container) { return container.image_id == image; });
}

}  // namespace

oci::Digest digest_of(const std::string& text) {
  return oci::Digest::of(base::as_bytes(text));
}

bool Faults::begin(const std::string& name) {
  names_.push_back(name);
  ++calls_;
  if (on_call) {
    on_call(name);
  }
  if (calls_ != at_) {
    return false;
  }
  if (kind_ == Kind::kCutBefore) {
    throw PowerCut();
  }
  return kind_ == Kind::kError;
}

void Faults::end() const {
  if (kind_ == Kind::kCutAfter && calls_ == at_) {
    throw PowerCut();
  }
}

// The engine

base::Result<EngineFacts> FakeEngine::facts() {
  if (faults_.begin("engine.facts")) {
    return broken(ErrorCode::kEngine);
  }
  faults_.end();
  return EngineFacts{"fake", "/", "amd64", false};
}

base::Result<std::vector<EngineImage>> FakeEngine::images() {
  if (faults_.begin("engine.images")) {
    return broken(ErrorCode::kEngine);
  }
  std::vector<EngineImage> all;
  for (const auto& [id, image] : stored) {
    EngineImage listed{id, {}, image.diff_ids, {}};
    for (const auto& name : image.names) {
      (name.find('@') == std::string::npos ? listed.tags : listed.digests).push_back(name);
    }
    all.push_back(std::move(listed));
  }
  faults_.end();
  return all;
}

const oci::Digest* FakeEngine::find(const std::string& reference) const {
  for (const auto& [id, image] : stored) {
    if (id.text() == reference || image.names.contains(reference)) {
      return &id;
    }
  }
  return nullptr;
}

std::set<std::string> FakeEngine::names() const {
  std::set<std::string> all;
  for (const auto& [id, image] : stored) {
    all.insert(image.names.begin(), image.names.end());
  }
  return all;
}

base::Result<std::optional<EngineImage>> FakeEngine::find_image(const std::string& reference) {
  if (faults_.begin("engine.find_image")) {
    return broken(ErrorCode::kEngine);
  }
  const auto* id = find(reference);
  std::optional<EngineImage> found;
  if (id != nullptr) {
    found = EngineImage{*id, {}, stored.at(*id).diff_ids, {}};
  }
  faults_.end();
  return found;
}

base::Status FakeEngine::pull(const std::string& reference, std::chrono::seconds /*stall*/,
                              const std::function<bool()>& /*alive*/, std::stop_token stop) {
  if (faults_.begin("engine.pull")) {
    return broken(ErrorCode::kEnginePull);
  }
  if (during_pull) {
    during_pull();
  }
  if (lost_pulls > 0) {
    --lost_pulls;
    return broken(ErrorCode::kEngineUnavailable);
  }
  const auto colon = reference.find(':');
  const auto slash = reference.find('/');
  const auto at = reference.find('@');
  const auto port =
      static_cast<std::uint16_t>(std::stoul(reference.substr(colon + 1, slash - colon - 1)));
  const std::string root = "/v2" + reference.substr(slash, at - slash);
  const auto manifest = http_get(port, root + "/manifests/" + reference.substr(at + 1));
  if (manifest.status != 200) {
    return Error(ErrorCode::kEnginePull, "manifest: " + std::to_string(manifest.status));
  }
  const auto json = base::Json::parse(manifest.body);
  Image image;
  for (const auto& layer : json.at("layers")) {
    const auto digest = layer.at("digest").get<std::string>();
    const auto blob = http_get(port, root + "/blobs/" + digest);
    if (stop.stop_requested() || !blob.complete || digest_of(blob.body).text() != digest) {
      wait_for_stop(stop);
      return Error(ErrorCode::kCancelled, "the pull was stopped");
    }
    image.diff_ids.push_back(*oci::Digest::parse(digest));
  }
  const auto id = *oci::Digest::parse(json.at("config").at("digest").get<std::string>());
  stored.emplace(id, std::move(image)).first->second.names.insert(reference);
  faults_.end();
  return base::ok();
}

base::Status FakeEngine::tag(const oci::Digest& image, const std::string& name) {
  if (faults_.begin("engine.tag " + name)) {
    return broken(ErrorCode::kEngine);
  }
  const auto found = stored.find(image);
  if (found == stored.end()) {
    return Error(ErrorCode::kEngine, "No such image: " + image.text());
  }
  for (auto& [id, other] : stored) {
    other.names.erase(name);  // an image that loses its last name to another one stays
  }
  found->second.names.insert(name);
  faults_.end();
  return base::ok();
}

base::Status FakeEngine::remove_name(const std::string& name) {
  const auto* id = find(name);
  if (id == nullptr) {
    return base::ok();
  }
  auto& names = stored.at(*id).names;
  if (names.size() > 1) {
    names.erase(name);
    return base::ok();
  }
  if (uses(running, *id)) {
    return Error(ErrorCode::kEngine, "409: a container is using its referenced image " + name);
  }
  stored.erase(oci::Digest(*id));
  return base::ok();
}

base::Status FakeEngine::untag(const std::string& name) {
  if (faults_.begin("engine.untag " + name)) {
    return broken(ErrorCode::kEngine);
  }
  OU_CHECK(remove_name(name));
  faults_.end();
  return base::ok();
}

base::Result<std::vector<EngineContainer>> FakeEngine::containers() {
  if (faults_.begin("engine.containers")) {
    return broken(ErrorCode::kEngine);
  }
  if (away) {
    return Error(ErrorCode::kEngineUnavailable, "the engine does not answer");
  }
  faults_.end();
  return running;
}

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
  const auto conf = host_.read(FakeHost::kSupervisorConf);
  const auto name = agent::install::supervisor_image_in(conf);
  if (engine_.find(name + ":latest") == nullptr || broken_images.contains(name)) {
    return broken(ErrorCode::kSupervisorApi);
  }
  return agent::install::supervisor_version_in(conf);
}

base::Status FakeSupervisor::stop(const std::string& unit, std::chrono::seconds /*timeout*/) {
  if (faults_.begin("services.stop " + unit)) {
    return broken(ErrorCode::kServiceManager);
  }
  (unit == "supervisor.service" ? runs : timer_runs) = false;
  faults_.end();
  return base::ok();
}

base::Status FakeSupervisor::start(const std::string& unit, std::chrono::seconds /*timeout*/) {
  if (faults_.begin("services.start " + unit)) {
    return broken(ErrorCode::kServiceManager);
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

// Time and progress

bool FakeWaiter::wait(std::chrono::milliseconds duration, const std::stop_token& stop) {
  faults_.begin("waiter.wait");  // waiting cannot fail
  now_ += duration;
  if (at_each_wait) {
    at_each_wait(now_);
  }
  tick_();
  faults_.end();
  return !stop.stop_requested();
}

void FakeProgress::phase(std::string_view name, std::uint64_t /*total*/) {
  faults_.begin("progress.phase " + std::string(name));
  faults_.end();
}

void FakeProgress::advance(std::uint64_t /*done*/) {
  faults_.begin("progress.advance");
  faults_.end();
}

// The device

FakeDevice::FakeDevice() {
  const auto service = [](const std::string& name, int id) {
    return base::Json{
        {"serviceName", name},
        {"serviceId", id},
        {"imageId", id + 10},
        {"image", "registry.invalid/v2/" + name + "@" + digest_of("manifest of " + name).text()},
        {"running", true}};
  };
  AppRow row{.app_id = kApp,
             .uuid = std::string(32, 'f'),
             .name = "test-fleet",
             .release_id = 5,
             .commit = std::string(32, '1'),
             .source = "https://api.invalid",
             .services_json =
                 base::to_canonical(base::Json::array({service("old", 21), service("s0", 22)})),
             .volumes_json = R"({"data":{}})",
             .networks_json = "{}"};
  for (const std::string name : {"old", "s0"}) {
    engine.stored[digest_of(name)] = {{"registry.invalid/v2/" + name + ":latest"},
                                      {digest_of("layer of " + name)}};
  }
  engine.stored[digest_of("supervisor")] = {{"supervisor:latest"}, {digest_of("layer of it")}};
  engine.running.push_back({.id = "c0",
                            .name = "balena_supervisor",
                            .image_id = digest_of("supervisor"),
                            .running = true});
  supervisor.database.rows = {row};
  supervisor.volumes = {{"data", "what users made"}};
  supervisor.volumes_json = row.volumes_json;
  supervisor.tick();
}

agent::install::SupervisorAccess FakeDevice::access() {
  return {.engine = engine,
          .database = supervisor.database,
          .api = supervisor,
          .services = supervisor,
          .supervisor_unit = "supervisor.service",
          .supervisor_timer = "supervisor.timer",
          .update_locks = update_locks,
          .state_dir = scratch.path()};
}

std::map<std::string, oci::Digest> FakeDevice::running_images() const {
  std::map<std::string, oci::Digest> images;
  for (const auto& container : engine.running) {
    const auto name = container.labels.find("io.balena.service-name");
    if (name != container.labels.end()) {
      images.emplace(name->second, container.image_id);
    }
  }
  return images;
}

void FakeDevice::reboot() {
  host.boot();
  supervisor.runs = true;
  supervisor.timer_runs = true;
  for (auto& container : engine.running) {
    container.restarting = false;
    container.restart_count = 0;
  }
  supervisor.tick();
}

}  // namespace support
