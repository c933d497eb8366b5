// The device's container engine (balenaEngine or Docker) through its Unix socket.
#pragma once

#include <string>

#include "install/engine.hpp"
#include "oci/engine_http.hpp"

namespace agent::platform {

/// Speaks the unversioned API, so that every engine answers in its own version. Used from one
/// thread at a time for each call; calls do not share state. \source Docker Engine API v1.40 to
/// v1.44
class DockerEngine final : public install::Engine {
 public:
  explicit DockerEngine(const std::string& socket_path) : http_(socket_path) {}

  base::Result<install::EngineFacts> facts() override;
  base::Result<std::vector<install::EngineImage>> images() override;
  base::Result<std::optional<install::EngineImage>> find_image(
      const std::string& reference) override;
  base::Status pull(const std::string& reference, std::chrono::seconds stall_timeout,
                    const std::function<bool()>& alive, std::stop_token stop) override;
  base::Status tag(const oci::Digest& image, const std::string& name) override;
  base::Status untag(const std::string& name) override;
  base::Status remove_image(const oci::Digest& image) override;
  base::Result<std::vector<install::EngineContainer>> containers() override;

 private:
  base::Status remove(const std::string& reference, const char* options);

  oci::EngineHttp http_;
};

}  // namespace agent::platform
