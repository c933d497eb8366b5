// What installing needs of the device's container engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "oci/digest.hpp"

namespace agent::install {

struct EngineFacts {
  std::string version;
  std::string data_root;  // as the engine sees it
  std::string architecture;
  bool spools_pulls;  // stock Docker stores whole layers before it extracts; balenaEngine streams
};

struct EngineImage {
  oci::Digest id;
  std::vector<std::string> tags;      // "name:tag"
  std::vector<oci::Digest> diff_ids;  // bottom first
  std::vector<std::string> digests;   // "name@digest": what it was pulled as
  bool damaged = false;  // the engine lists it and cannot describe it, as a power cut may leave it
};

struct EngineContainer {
  std::string id;
  std::string name;  // without the leading slash
  oci::Digest image_id;
  std::map<std::string, std::string> labels;
  bool running = false;
  bool restarting = false;
  std::int64_t restart_count = 0;
  std::int64_t exit_code = 0;
  std::string started_at;  // RFC 3339, as the engine gives it
  std::string health;      // "", "starting", "healthy", "unhealthy"
  bool may_end = false;    // its restart policy lets it be when it has ended well
};

/// Every call: \error ErrorCode::kEngineUnavailable when the engine does not answer, kEngine when
/// it answers with an error (its own words are in the message), kTimeout.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  virtual base::Result<EngineFacts> facts() = 0;
  /// All images, untagged ones too. A damaged one has its names and no layers.
  virtual base::Result<std::vector<EngineImage>> images() = 0;
  /// By name, name:tag, name@digest or ID; nothing if there is none.
  virtual base::Result<std::optional<EngineImage>> find_image(const std::string& reference) = 0;
  /// Pulls until the engine reports success.
  /// \param stall_timeout longest time without any message from the engine before the pull is
  /// cancelled;
  ///   `alive` is asked first, and while it returns true the clock starts again (waiting for a
  ///   medium)
  /// \error ErrorCode::kEnginePull with the engine's words; kTimeout; kCancelled
  virtual base::Status pull(const std::string& reference, std::chrono::seconds stall_timeout,
                            const std::function<bool()>& alive, std::stop_token stop) = 0;
  /// Gives the image the name "repository:tag", which it takes from another image if need be.
  virtual base::Status tag(const oci::Digest& image, const std::string& name) = 0;
  /// Removes one name or reference; that it is not there is no error. Removing the last one removes
  /// the image, so tag first.
  virtual base::Status untag(const std::string& name) = 0;
  /// Removes an image with all its names; that it is not there is no error.
  virtual base::Status remove_image(const oci::Digest& image) = 0;
  /// All containers, stopped ones too.
  virtual base::Result<std::vector<EngineContainer>> containers() = 0;
};

}  // namespace agent::install
