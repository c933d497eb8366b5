// One image after the other; a failure of the registry ends the engine's pull, which would
// otherwise ask for the rest for ever.
#include "install/pull_step.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view kKeepRepository = "offline-updater/keep:";
constexpr std::size_t kKeepDigits = 12;
// At an image that may be damaged.
constexpr int kLooks = 3;
constexpr std::chrono::seconds kBetweenLooks{1};

/// Whether anything has happened since it was asked last: bytes went out, or a reader waits for the
/// medium, which has a time limit of its own.
class Liveness {
 public:
  Liveness(const LoopbackRegistry& registry, const intake::MediumChunks& chunks)
      : registry_(registry), chunks_(chunks), served_(registry.bytes_served()) {}

  bool operator()() {
    const std::uint64_t served = registry_.bytes_served();
    const bool grew = served != served_;
    served_ = served;
    return grew || chunks_.waiting();
  }

 private:
  const LoopbackRegistry& registry_;
  const intake::MediumChunks& chunks_;
  std::uint64_t served_;
};

base::Status pull(Engine& engine, const LoopbackRegistry& registry,
                  const intake::MediumChunks& chunks, const std::string& reference,
                  std::chrono::seconds stall_timeout, const std::stop_token& stop) {
  std::stop_source cancel;
  const std::stop_callback forward(stop, [&cancel] { cancel.request_stop(); });
  std::jthread watch([&](const std::stop_token& done) {
    if (registry.wait_for_failure(done)) {
      cancel.request_stop();
    }
  });
  Liveness alive(registry, chunks);
  auto pulled = engine.pull(
      reference, stall_timeout, [&alive] { return alive(); }, cancel.get_token());
  watch.request_stop();
  watch.join();
  // The engine only saw a broken connection; the registry knows why.
  if (const auto failure = registry.failure(); failure && !pulled) {
    return *failure;
  }
  return pulled;
}

/// \return whether it was waited for
bool pause(std::chrono::milliseconds duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait_for(lock, stop, duration, [] { return false; });
  return !stop.stop_requested();
}

/// Why the engine cannot read an image that it has; nothing when it can, or has none. An engine
/// that is busy may answer one question with an error: a damaged image gives the same answer each
/// time, while the engine answers others.
base::Result<std::optional<Error>> find_damage(Engine& engine, const oci::Digest& image,
                                               const std::stop_token& stop) {
  std::optional<Error> damage;
  for (int look = 0; look < kLooks; ++look) {
    if (look > 0 && !pause(kBetweenLooks, stop)) {
      return Error(ErrorCode::kCancelled, "stopped before image " + image.text());
    }
    const auto found = engine.find_image(image.text());
    if (found) {
      return std::optional<Error>();
    }
    if (found.error().code() != ErrorCode::kEngine) {
      return found.error();
    }
    OU_TRY(const auto facts, engine.facts());
    damage = found.error();
  }
  return damage;
}

/// What a power cut interrupted can be an image that the engine lists, cannot read and does not
/// pull again. It goes, with what of its layers nobody else has; not one that a container is made
/// of, which would lose its own with it.
base::Status remove_if_damaged(Engine& engine, const oci::Digest& image,
                               const std::stop_token& stop) {
  OU_TRY(const auto damage, find_damage(engine, image, stop));
  if (!damage) {
    return base::ok();
  }
  OU_TRY(const auto containers, engine.containers());
  for (const auto& container : containers) {
    if (container.image_id == image) {
      return Error(ErrorCode::kEngine, "the engine cannot read image " + image.text() +
                                           ", which its container " + container.name +
                                           " is made of: " + damage->message());
    }
  }
  base::log::warning("removed and pulled again: " + damage->message());
  return engine.remove_image(image);
}

base::Status check_arrived(Engine& engine, const bundle::Image& image) {
  OU_TRY(const auto arrived, engine.find_image(image.id.text()));
  if (!arrived || arrived->id != image.id) {
    return Error(ErrorCode::kEnginePull,
                 "the engine reported success, but does not have image " + image.id.text());
  }
  const bool same = std::equal(
      image.layers.begin(), image.layers.end(), arrived->diff_ids.begin(), arrived->diff_ids.end(),
      [](const auto& layer, const auto& diff_id) { return layer.diff_id == diff_id; });
  if (!same) {
    return Error(ErrorCode::kEnginePull,
                 "the engine has other layers for image " + image.id.text());
  }
  return base::ok();
}

}  // namespace

std::string keep_tag(const oci::Digest& bundle, const oci::Digest& image) {
  return std::string(kKeepRepository) + bundle.hex().substr(0, kKeepDigits) + "-" +
         image.hex().substr(0, kKeepDigits);
}

bool is_keep_tag(const std::string& tag) {
  return tag.starts_with(kKeepRepository);
}

base::Status pull_images(Engine& engine, const LoopbackRegistry& registry,
                         const intake::MediumChunks& chunks, const oci::Digest& bundle,
                         const std::vector<const bundle::Image*>& images,
                         std::chrono::seconds stall_timeout, base::ProgressSink& progress,
                         std::stop_token stop) {
  progress.phase("pull images", images.size());
  for (const bundle::Image* image : images) {
    if (stop.stop_requested()) {
      return Error(ErrorCode::kCancelled, "stopped before image " + image->id.text());
    }
    const std::string reference = registry.reference(*image);
    OU_CHECK(remove_if_damaged(engine, image->id, stop));
    OU_CHECK(pull(engine, registry, chunks, reference, stall_timeout, stop)
                 .within("pull image " + image->id.text()));
    OU_CHECK(check_arrived(engine, *image));
    // In this order: an engine removes an image with its last name.
    OU_CHECK(engine.tag(image->id, keep_tag(bundle, image->id)));
    OU_CHECK(engine.untag(reference));
    progress.advance(1);
  }
  return base::ok();
}

}  // namespace agent::install
