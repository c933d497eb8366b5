// What the agent is doing right now, for `status` and for anyone who watches a small file.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>

#include "base/progress.hpp"

namespace agent {

/// Keeps RUNTIME_DIR/status.json: {"doing": "...", "done": N, "total": N}. Written when a phase
/// begins and at most once a second within it; not durable, since after a power cut it means
/// nothing. A failure to write is ignored: it must not stop an update.
class StatusFile final : public base::ProgressSink {
 public:
  explicit StatusFile(const std::filesystem::path& runtime_dir);
  void phase(std::string_view name, std::uint64_t total) override;
  void advance(std::uint64_t done) override;

  static std::filesystem::path path_in(const std::filesystem::path& runtime_dir) {
    return runtime_dir / "status.json";
  }

 private:
  void write();

  std::filesystem::path file_;
  std::mutex mutex_;
  std::string name_ = "starting";
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  std::chrono::steady_clock::time_point written_;
};

}  // namespace agent
