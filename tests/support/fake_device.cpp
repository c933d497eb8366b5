#include "support/fake_device.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/json.hpp"
#include "support/http_client.hpp"

namespace support {
namespace {

using agent::install::AppRow;
using agent::install::EngineContainer;
using agent::install::EngineFacts;
using agent::install::EngineImage;
using base::Error;
using base::ErrorCode;

void wait_for_stop(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait(lock, stop, [] { return false; });
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
    listed.damaged = damaged.contains(id);
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
  if (id != nullptr && damaged.contains(*id)) {
    return Error(ErrorCode::kEngine, "the engine answered 500");
  }
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
    return broken(tag_failure);
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

base::Status FakeEngine::remove_image(const oci::Digest& image) {
  if (faults_.begin("engine.remove_image")) {
    return broken(ErrorCode::kEngine);
  }
  stored.erase(image);
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
