#include "install/pull_step.hpp"

#include <catch2/catch.hpp>
#include <condition_variable>
#include <set>

#include "support/http_client.hpp"
#include "support/served_bundle.hpp"

namespace {

using agent::install::Engine;
using agent::install::EngineContainer;
using agent::install::EngineFacts;
using agent::install::EngineImage;
using agent::install::keep_tag;
using agent::install::pull_images;
using base::Error;
using base::ErrorCode;
using support::RunningRegistry;
using support::ServedBundle;
using namespace std::chrono_literals;

constexpr std::uint32_t kChunk = 64 * 1024;

/// Blocks until a stop is requested.
void wait_for(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait(lock, stop, [] { return false; });
}

/// Holds images with names, fetches layers like an engine, and forgets an image with its last name.
class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(const ServedBundle& bundle) : bundle_(bundle) {}

  base::Result<EngineFacts> facts() override {
    if (away) {
      return Error(ErrorCode::kEngineUnavailable, "nobody answers");
    }
    return EngineFacts{};
  }
  base::Result<std::vector<EngineImage>> images() override { return std::vector<EngineImage>{}; }
  base::Result<std::optional<EngineImage>> find_image(const std::string& reference) override {
    ++looks;
    if (damaged || looks <= busy_looks) {
      return Error(ErrorCode::kEngine, "the engine answered 500");
    }
    if (names.empty() || reference != bundle_.image().id.text()) {
      return std::optional<EngineImage>();
    }
    return std::optional(EngineImage{bundle_.image().id, {}, diff_ids, {}});
  }
  base::Status pull(const std::string& reference, std::chrono::seconds /*stall_timeout*/,
                    const std::function<bool()>& alive, std::stop_token stop) override {
    if (during_pull) {
      return during_pull(alive, stop);
    }
    if (!damaged) {  // else the engine finds that it has the image
      names.insert(reference);
    }
    return base::ok();
  }
  base::Status tag(const oci::Digest& image, const std::string& name) override {
    if (names.empty() || image != bundle_.image().id) {
      return Error(ErrorCode::kEngine, "no such image");
    }
    names.insert(name);
    return base::ok();
  }
  base::Status untag(const std::string& name) override {
    names.erase(name);
    return base::ok();
  }
  base::Status remove_image(const oci::Digest& image) override {
    ++removals;
    damaged = damaged && image != bundle_.image().id;
    return base::ok();
  }
  base::Result<std::vector<EngineContainer>> containers() override {
    return made_of_it ? std::vector<EngineContainer>{{.id = "c",
                                                      .name = "s0",
                                                      .image_id = bundle_.image().id}}
                      : std::vector<EngineContainer>{};
  }

  std::set<std::string> names;
  int looks = 0;
  int busy_looks = 0;  // so many are answered with an error, whatever was asked for
  int removals = 0;
  bool away = false;        // does not answer what it is asked about itself
  bool made_of_it = false;  // a container is made of the image
  std::vector<oci::Digest> diff_ids;
  bool damaged = false;  // it has the image and cannot read it
  std::function<base::Status(const std::function<bool()>&, const std::stop_token&)> during_pull;

 private:
  const ServedBundle& bundle_;
};

struct Pull {
  explicit Pull(const ServedBundle& served) : bundle(served), running(served), engine(served) {
    engine.diff_ids = {served.layers[0].blob.uncompressed_digest};
  }
  base::Status run(std::stop_token stop = {}) {
    base::NoProgress progress;
    return pull_images(engine, *running.registry, running.chunks, bundle_digest, {&bundle.image()},
                       60s, progress, std::move(stop));
  }
  [[nodiscard]] std::string layer_path() const {
    return running.blob_path(bundle.layers[0].blob.uncompressed_digest);
  }

  const ServedBundle& bundle;
  const oci::Digest bundle_digest = oci::Digest::of(base::as_bytes("bundle"));
  RunningRegistry running;
  FakeEngine engine;
};

ServedBundle one_layer_bundle() {
  return ServedBundle({support::plain_blob(support::noise(5 * kChunk), kChunk)});
}

ErrorCode code_of(const base::Status& status) {
  REQUIRE_FALSE(status);
  return status.error().code();
}

}  // namespace

TEST_CASE("pull step: a pulled image is left under its keep tag alone") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  const auto status = pull.run();
  REQUIRE(status);
  const std::string tag = keep_tag(pull.bundle_digest, bundle.image().id);
  CHECK(pull.engine.names == std::set<std::string>{tag});
  CHECK(tag == "offline-updater/keep:" + pull.bundle_digest.hex().substr(0, 12) + "-" +
                   bundle.image().id.hex().substr(0, 12));
  CHECK(agent::install::is_keep_tag(tag));
  CHECK_FALSE(agent::install::is_keep_tag("registry2.balena-cloud.com/v2/0123:latest"));
}

TEST_CASE("pull step: an image with other layers than the bundle says gets no name") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  SECTION("another layer") {
    pull.engine.diff_ids = {bundle.image().id};
  }
  SECTION("one more") {
    pull.engine.diff_ids.push_back(bundle.image().id);
  }
  SECTION("none") {
    pull.engine.diff_ids.clear();
  }
  CHECK(code_of(pull.run()) == ErrorCode::kEnginePull);
  CHECK_FALSE(pull.engine.names.contains(keep_tag(pull.bundle_digest, bundle.image().id)));
}

TEST_CASE("pull step: success without an image is a failure") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  pull.engine.during_pull = [](const auto& /*alive*/, const auto& /*stop*/) { return base::ok(); };
  CHECK(code_of(pull.run()) == ErrorCode::kEnginePull);
}

TEST_CASE("pull step: an altered chunk ends the engine's pull and is reported as what it is") {
  const auto bundle = one_layer_bundle();
  std::string altered = bundle.layers[0].stored;
  altered[2 * kChunk] = static_cast<char>(altered[2 * kChunk] ^ 1);
  bundle.layers[0].write_to(bundle.scratch.path(), altered);
  Pull pull(bundle);
  pull.engine.during_pull = [&](const auto& /*alive*/, const std::stop_token& stop) {
    const auto reply = support::http_get(pull.running.port(), pull.layer_path());
    CHECK_FALSE(reply.complete);
    wait_for(stop);  // an engine asks again for ever
    return base::Status(Error(ErrorCode::kCancelled, "cancelled"));
  };
  CHECK(code_of(pull.run()) == ErrorCode::kBlobAltered);
  CHECK(pull.engine.names.empty());
}

TEST_CASE("pull step: the engine's own error is reported when the registry has none") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  pull.engine.during_pull = [](const auto& /*alive*/, const auto& /*stop*/) {
    return base::Status(Error(ErrorCode::kEnginePull, "no space left on device"));
  };
  const auto status = pull.run();
  CHECK(code_of(status) == ErrorCode::kEnginePull);
  CHECK(status.error().message().find("no space left on device") != std::string::npos);
}

TEST_CASE("pull step: a stop request ends the pull") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  std::stop_source stop;
  SECTION("before it begins") {
    pull.engine.during_pull = [](const auto& /*alive*/, const auto& /*stop*/) {
      FAIL("the engine was asked to pull");
      return base::ok();
    };
    stop.request_stop();
  }
  SECTION("while it goes on") {
    pull.engine.during_pull = [&stop](const auto& /*alive*/, const std::stop_token& asked) {
      stop.request_stop();
      wait_for(asked);
      return base::Status(Error(ErrorCode::kCancelled, "cancelled"));
    };
  }
  CHECK(code_of(pull.run(stop.get_token())) == ErrorCode::kCancelled);
}

TEST_CASE("pull step: a pull is alive while bytes are served, and not without") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  std::vector<bool> alive_seen;
  pull.engine.during_pull = [&](const auto& alive, const auto& /*stop*/) {
    alive_seen.push_back(alive());
    CHECK(support::http_get(pull.running.port(), pull.layer_path()).complete);
    alive_seen.push_back(alive());
    alive_seen.push_back(alive());
    return base::Status(Error(ErrorCode::kTimeout, "stalled"));
  };
  CHECK(code_of(pull.run()) == ErrorCode::kTimeout);
  CHECK(alive_seen == std::vector<bool>{false, true, false});
}

TEST_CASE("pull step: an image that the engine cannot read is removed and pulled again") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  pull.engine.damaged = true;
  REQUIRE(pull.run());
  CHECK_FALSE(pull.engine.damaged);
  CHECK(pull.engine.names == std::set{keep_tag(pull.bundle_digest, bundle.image().id)});
}

TEST_CASE("pull step: an engine that answers with an error for a moment loses no image") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  pull.engine.names = {"registry.invalid/v2/s0:latest"};
  pull.engine.busy_looks = 2;
  REQUIRE(pull.run());
  CHECK(pull.engine.removals == 0);
  CHECK(pull.engine.names.contains("registry.invalid/v2/s0:latest"));
}

TEST_CASE("pull step: no image is called damaged by an engine that is going away") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  pull.engine.damaged = true;
  pull.engine.away = true;
  CHECK(code_of(pull.run()) == ErrorCode::kEngineUnavailable);
  CHECK(pull.engine.removals == 0);
}

TEST_CASE("pull step: a damaged image that a container is made of is not removed") {
  const auto bundle = one_layer_bundle();
  Pull pull(bundle);
  pull.engine.damaged = true;
  pull.engine.made_of_it = true;
  const auto status = pull.run();
  CHECK(code_of(status) == ErrorCode::kEngine);
  CHECK(status.error().message().find("s0") != std::string::npos);
  CHECK(pull.engine.removals == 0);
}
