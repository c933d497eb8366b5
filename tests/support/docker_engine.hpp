// A real engine for one test: Debian's dockerd with its own data and no network.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/scratch.hpp"

namespace support {

class DockerEngine {
 public:
  /// Starts dockerd and returns when it answers. Needs root. Throws std::runtime_error with the end
  /// of its log when it does not.
  DockerEngine();
  DockerEngine(const DockerEngine&) = delete;
  DockerEngine& operator=(const DockerEngine&) = delete;
  ~DockerEngine();

  /// Ends the engine as a power cut would, and waits until it is gone.
  void kill();
  /// Starts it again with the data that it had. \pre kill()
  void start();

  [[nodiscard]] std::string socket() const { return (scratch_ / "socket").string(); }
  /// DOCKER_HOST as the docker command and bundle-tool take it.
  [[nodiscard]] std::string host() const { return "unix://" + socket(); }
  /// Whether any layer is in its store. Looks at files: the API does not tell.
  [[nodiscard]] bool holds_layers() const;
  /// Empties the files of each layer that say how it is mounted, as a power cut does with short
  /// files that were not synced. \pre kill()
  void lose_what_was_not_synced() const;
  /// Runs `docker` against this engine; throws when it fails. \return standard output
  std::string docker(std::vector<std::string> arguments) const;

 private:
  void end(int signal);

  Scratch scratch_;
  pid_t pid_ = -1;
};

}  // namespace support
