// The step that brings images into the engine, also when the engine goes away meanwhile.
#include <chrono>

#include "base/log.hpp"
#include "install/pull_step.hpp"
#include "update_steps.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using record::JournalEntry;

constexpr std::chrono::seconds kEnginePoll{1};
constexpr int kMaxEngineLosses = 5;  // in one pull: an engine that this many times dies of it

/// An engine that was killed or restarted is back in seconds. \return whether it answers again
bool wait_for_engine(Device& device, const std::stop_token& stop) {
  device.progress.phase("waiting for the engine", 0);
  const auto deadline = device.waiter.now() + device.config.stall_timeout;
  while (device.waiter.now() < deadline && device.waiter.wait(kEnginePoll, stop)) {
    if (device.engine.facts()) {
      return true;
    }
  }
  return false;
}

}  // namespace

base::Status pull_images(Device& device, const JournalEntry& entry,
                         const bundle::Manifest& manifest,
                         const install::LoopbackRegistry& registry,
                         const intake::MediumChunks& chunks, const std::stop_token& stop) {
  std::vector<const bundle::Image*> images;
  for (const auto& image : manifest.images) {
    if (!manifest.os || image.id != manifest.os->image) {
      images.push_back(&image);
    }
  }
  for (int losses = 0;; ++losses) {
    auto pulled = install::pull_images(device.engine, registry, chunks, entry.bundle, images,
                                       device.config.stall_timeout, device.progress, stop);
    const bool lost = !pulled && pulled.error().code() == ErrorCode::kEngineUnavailable;
    if (!lost || losses == kMaxEngineLosses) {
      return pulled;
    }
    base::log::warning("the engine went away: " + pulled.error().message());
    if (!wait_for_engine(device, stop)) {
      return stop.stop_requested()
                 ? Error(ErrorCode::kCancelled, "stopped while the engine was away")
                 : std::move(pulled).error();
    }
  }
}

}  // namespace agent
