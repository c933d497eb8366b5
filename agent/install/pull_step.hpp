// Brings the images of a plan into the engine, inert: nothing that runs is touched.
#pragma once

#include <chrono>
#include <stop_token>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "install/engine.hpp"
#include "install/loopback_registry.hpp"
#include "intake/medium_chunks.hpp"

namespace agent::install {

/// The name that keeps `image` in the engine while an update of bundle `digest` is under way:
/// "offline-updater/keep:<first 12 digits of the bundle>-<first 12 of the image>". Tags of ours are
/// never the supervisor's business.
std::string keep_tag(const oci::Digest& bundle, const oci::Digest& image);
/// Whether a tag is one of ours.
bool is_keep_tag(const std::string& tag);

/// Pulls each image (those that the engine has already only cost one manifest), checks ID and diff
/// IDs of what arrived, gives it its keep tag and removes the loopback reference. On an altered
/// chunk the pull is cancelled and the registry's own error returned. An image that the engine
/// lists and, asked repeatedly, cannot read is removed first, unless a container is made of it.
///
/// \param stall_timeout longest time without a message from the engine and without a byte served
/// \error ErrorCode::kBlobAltered and the like from the registry; kEnginePull; kMediumTimeout;
/// kTimeout;
///   kCancelled
base::Status pull_images(Engine& engine, const LoopbackRegistry& registry,
                         const intake::MediumChunks& chunks, const oci::Digest& bundle,
                         const std::vector<const bundle::Image*>& images,
                         std::chrono::seconds stall_timeout, base::ProgressSink& progress,
                         std::stop_token stop);

}  // namespace agent::install
