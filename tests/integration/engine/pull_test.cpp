// Pulls through the loopback registry with a real dockerd.
#include <catch2/catch.hpp>
#include <future>
#include <thread>

#include "install/pull_step.hpp"
#include "platform/docker_engine.hpp"
#include "support/docker_engine.hpp"
#include "support/served_bundle.hpp"

namespace {

using agent::install::keep_tag;
using agent::platform::DockerEngine;
using base::ErrorCode;
using support::RunningRegistry;
using support::ServedBundle;
using namespace std::chrono_literals;

constexpr std::uint32_t kChunk = 256 * 1024;
constexpr std::size_t kLayerBytes = 6 * 1024 * 1024;

std::string tar_with(const std::string& name, std::uint32_t seed) {
  return support::TarBuilder()
      .directory("data")
      .file("data/" + name, support::noise(kLayerBytes, seed))
      .finish();
}

/// Two layers, one stored in frames and one as it is.
ServedBundle two_layer_bundle() {
  return ServedBundle({support::framed_blob(tar_with("a", 1), kChunk),
                       support::plain_blob(tar_with("b", 2), kChunk)});
}

const oci::Digest& bundle_digest() {
  static const auto kDigest = oci::Digest::of(base::as_bytes("a bundle"));
  return kDigest;
}

base::Status pull(DockerEngine& engine, const ServedBundle& bundle, const RunningRegistry& running,
                  std::stop_token stop = {}) {
  base::NoProgress progress;
  return agent::install::pull_images(engine, *running.registry, running.chunks, bundle_digest(),
                                     {&bundle.image()}, 120s, progress, std::move(stop));
}

void check_installed(DockerEngine& engine, const ServedBundle& bundle) {
  const auto images = engine.images();
  REQUIRE(images);
  REQUIRE(images->size() == 1);
  const auto& image = images->front();
  CHECK(image.id == bundle.image().id);
  CHECK(image.tags == std::vector<std::string>{keep_tag(bundle_digest(), image.id)});
  std::vector<oci::Digest> diff_ids;
  for (const auto& layer : bundle.layers) {
    diff_ids.push_back(layer.blob.uncompressed_digest);
  }
  CHECK(image.diff_ids == diff_ids);
}

/// No image, and nothing left of its layers: dockerd cancels a pull in the background.
bool becomes_empty(const support::DockerEngine& daemon, DockerEngine& engine) {
  for (int i = 0; i < 300; ++i) {
    const auto images = engine.images();
    if (images && images->empty() && !daemon.holds_layers()) {
      return true;
    }
    std::this_thread::sleep_for(100ms);  // the engine has no event for it
  }
  return false;
}

void flip_byte(const ServedBundle& bundle, std::size_t layer, std::size_t at) {
  std::string altered = bundle.layers[layer].stored;
  altered[at] = static_cast<char>(altered[at] ^ 1);
  bundle.layers[layer].write_to(bundle.scratch.path(), altered);
}

/// Makes the top layer's file end in the middle, as a stick that is being pulled out.
void cut_short(const ServedBundle& bundle) {
  std::filesystem::resize_file(bundle.scratch / bundle.layers[1].file_name(), kLayerBytes / 2);
}

/// Lets a test wait for the moment at which the registry waits for the medium. MediumChunks checks
/// a file's size when it opens it, so the cut comes after the first chunk.
class Waiting {
 public:
  std::function<void(bool)> sink() {
    return [this](bool waiting) {
      if (waiting) {
        promise_.set_value();
      }
    };
  }
  bool reached() { return promise_.get_future().wait_for(60s) == std::future_status::ready; }

 private:
  std::promise<void> promise_;
};

/// The file is opened while it is whole, then cut.
void open_then_cut(RunningRegistry& running, const ServedBundle& bundle) {
  REQUIRE(running.chunks.read_chunk(bundle.layers[1].blob, 0));
  cut_short(bundle);
}

}  // namespace

TEST_CASE("engine: pulls an image through the registry, and a second time not a layer of it") {
  const support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  const auto pulled = pull(engine, bundle, running);
  INFO((pulled ? "" : pulled.error().message()));
  REQUIRE(pulled);
  check_installed(engine, bundle);
  CHECK(running.registry->bytes_served() ==
        bundle.layers[0].uncompressed.size() + bundle.layers[1].uncompressed.size());
  CHECK_FALSE(daemon.docker({"images", "--digests", "--no-trunc"}).find("127.0.0.1") !=
              std::string::npos);
  const auto before = running.registry->bytes_served();
  REQUIRE(pull(engine, bundle, running));
  CHECK(running.registry->bytes_served() == before);
  check_installed(engine, bundle);
}

TEST_CASE("engine: an altered chunk cancels the pull and leaves the engine as it was") {
  const support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  flip_byte(bundle, 1, kLayerBytes / 2);
  {
    const RunningRegistry running(bundle);
    const auto pulled = pull(engine, bundle, running);
    REQUIRE_FALSE(pulled);
    INFO(pulled.error().message());
    CHECK(pulled.error().code() == ErrorCode::kBlobAltered);
    CHECK(becomes_empty(daemon, engine));
  }
  bundle.layers[1].write_to(bundle.scratch.path());
  const RunningRegistry good(bundle);
  REQUIRE(pull(engine, bundle, good));
  check_installed(engine, bundle);
}

TEST_CASE("engine: a pull goes on when the medium that went away is back") {
  const support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  const auto same = two_layer_bundle();
  Waiting waiting;
  RunningRegistry running(bundle, {}, 120s, waiting.sink());
  open_then_cut(running, bundle);
  auto pulling = std::async(std::launch::async, [&] { return pull(engine, bundle, running); });
  REQUIRE(waiting.reached());
  running.chunks.detach();
  running.chunks.attach(same.open());
  const auto pulled = pulling.get();
  INFO((pulled ? "" : pulled.error().message()));
  CHECK(pulled);
  check_installed(engine, bundle);
}

TEST_CASE("engine: a pull goes on when the registry is started again at the same place") {
  const support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  const auto same = two_layer_bundle();
  Waiting waiting;
  auto first = std::make_unique<RunningRegistry>(bundle, agent::install::RegistryAddress{}, 120s,
                                                 waiting.sink());
  open_then_cut(*first, bundle);
  const auto address = first->registry->address();
  const std::string reference = first->registry->reference(bundle.image());
  auto pulling = std::async(std::launch::async,
                            [&] { return engine.pull(reference, 120s, [] { return false; }, {}); });
  REQUIRE(waiting.reached());
  first->chunks.stop();  // so that no layer is served any further
  const auto served_first = first->registry->bytes_served();
  first.reset();
  const RunningRegistry second(same, address);
  const auto pulled = pulling.get();
  INFO((pulled ? "" : pulled.error().message()));
  CHECK(pulled);
  // Stock Docker too asks for the rest of the layers that were cut: little is sent twice.
  CHECK(served_first > 0);
  CHECK(served_first + second.registry->bytes_served() < bundle.layers[0].uncompressed.size() +
                                                             bundle.layers[1].uncompressed.size() +
                                                             kLayerBytes / 4);
  const auto image = engine.find_image(bundle.image().id.text());
  REQUIRE(image);
  CHECK(image->has_value());
}

TEST_CASE("engine: a stop request cancels the pull and leaves the engine as it was") {
  const support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  Waiting waiting;
  RunningRegistry running(bundle, {}, 120s, waiting.sink());
  open_then_cut(running, bundle);
  std::stop_source stop;
  auto pulling = std::async(std::launch::async,
                            [&] { return pull(engine, bundle, running, stop.get_token()); });
  REQUIRE(waiting.reached());
  stop.request_stop();
  const auto pulled = pulling.get();
  REQUIRE_FALSE(pulled);
  CHECK(pulled.error().code() == ErrorCode::kCancelled);
  running.chunks.stop();
  CHECK(becomes_empty(daemon, engine));
}

TEST_CASE("engine: an engine that is killed during a pull completes the next one") {
  support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  const auto same = two_layer_bundle();
  Waiting waiting;
  RunningRegistry running(bundle, {}, 120s, waiting.sink());
  open_then_cut(running, bundle);
  auto pulling = std::async(std::launch::async, [&] { return pull(engine, bundle, running); });
  REQUIRE(waiting.reached());
  daemon.kill();
  const auto pulled = pulling.get();
  REQUIRE_FALSE(pulled);
  INFO(pulled.error().message());
  CHECK((pulled.error().code() == ErrorCode::kEnginePull ||
         pulled.error().code() == ErrorCode::kEngineUnavailable));
  const auto gone = engine.facts();
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code() == ErrorCode::kEngineUnavailable);
  daemon.start();
  running.chunks.attach(same.open());
  REQUIRE(pull(engine, bundle, running));
  check_installed(engine, bundle);
}

TEST_CASE("engine: an image that a power cut has damaged is pulled again") {
  support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  REQUIRE(pull(engine, bundle, running));
  daemon.kill();
  daemon.lose_what_was_not_synced();
  daemon.start();
  const auto found = engine.find_image(bundle.image().id.text());
  REQUIRE_FALSE(found);
  CHECK(found.error().code() == ErrorCode::kEngine);
  const auto images = engine.images();  // one damaged image does not hide the others
  REQUIRE(images);
  REQUIRE(images->size() == 1);
  CHECK(images->front().damaged);
  CHECK(images->front().tags == std::vector{keep_tag(bundle_digest(), bundle.image().id)});
  const auto pulled = pull(engine, bundle, running);
  INFO((pulled ? "" : pulled.error().message()));
  REQUIRE(pulled);
  check_installed(engine, bundle);
}

TEST_CASE("engine: a damaged image goes with its last name") {
  support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  REQUIRE(pull(engine, bundle, running));
  daemon.kill();
  daemon.lose_what_was_not_synced();
  daemon.start();
  REQUIRE(engine.untag(keep_tag(bundle_digest(), bundle.image().id)));
  const auto images = engine.images();
  REQUIRE(images);
  CHECK(images->empty());
}

TEST_CASE("engine: pulling what does not exist is reported in the engine's words") {
  const support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  const std::string reference =
      "127.0.0.1:" + std::to_string(running.port()) + "/wrong/app@" + bundle.image().id.text();
  const auto pulled = engine.pull(reference, 60s, [] { return false; }, {});
  REQUIRE_FALSE(pulled);
  CHECK(pulled.error().code() == ErrorCode::kEnginePull);
  CHECK(pulled.error().message().find("the engine") != std::string::npos);
}

TEST_CASE("engine: tells its facts, images, names and containers") {
  const support::DockerEngine daemon;
  DockerEngine engine(daemon.socket());
  const auto facts = engine.facts();
  REQUIRE(facts);
  CHECK(facts->spools_pulls);
  CHECK(facts->data_root.ends_with("/data"));
  CHECK(daemon.docker({"version", "--format", "{{.Server.Version}} {{.Server.Arch}}"}) ==
        facts->version + " " + facts->architecture);

  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  REQUIRE(pull(engine, bundle, running));
  const std::string keep = keep_tag(bundle_digest(), bundle.image().id);
  REQUIRE(engine.tag(bundle.image().id, "registry2.example.com/v2/abc:latest"));
  REQUIRE(engine.tag(bundle.image().id, "registry2.example.com/v2/abc:latest"));
  CHECK(engine.find_image("registry2.example.com/v2/abc").value()->id == bundle.image().id);
  CHECK_FALSE(engine.find_image("no/such:image").value());
  REQUIRE(engine.untag(keep));
  REQUIRE(engine.untag(keep));
  CHECK(engine.images()->front().tags ==
        std::vector<std::string>{"registry2.example.com/v2/abc:latest"});

  const std::string id = daemon.docker({"create", "--name", "main_1", "--label", "a=b",
                                        "--network=none", "registry2.example.com/v2/abc"});
  const auto containers = engine.containers();
  REQUIRE(containers);
  REQUIRE(containers->size() == 1);
  CHECK(containers->front().id == id);
  CHECK(containers->front().name == "main_1");
  CHECK(containers->front().image_id == bundle.image().id);
  CHECK(containers->front().labels.at("a") == "b");
  CHECK_FALSE(containers->front().running);
  // The last name of an image that a container uses is never taken by force.
  const auto refused = engine.untag("registry2.example.com/v2/abc:latest");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kEngine);
  CHECK(refused.error().message().find("unable to remove") != std::string::npos);
}
