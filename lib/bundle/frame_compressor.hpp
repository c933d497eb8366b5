// Compresses pieces of a stream into zstd frames on several threads, in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace bundle {

/// Each piece becomes one frame with its content size and without a checksum; what comes out
/// depends on the piece and the level alone, never on the number of threads.
class FrameCompressor {
 public:
  /// \param level of zstd, 1 to 19; \param threads 0: one for each processor
  FrameCompressor(int level, unsigned threads);
  FrameCompressor(const FrameCompressor&) = delete;
  FrameCompressor& operator=(const FrameCompressor&) = delete;
  ~FrameCompressor();

  void put(base::Bytes piece);
  /// Whether so many pieces are under way that take() should be called before the next put().
  [[nodiscard]] bool full() const { return frames_.size() >= 2 * workers_.size(); }
  /// The frame of the oldest piece; waits for it. Nothing when there is none.
  /// \error ErrorCode::kInternal when zstd gives up
  base::Result<std::optional<base::Bytes>> take();

 private:
  struct Task {
    base::Bytes piece;
    std::promise<base::Result<base::Bytes>> frame;
  };
  void work(int level, const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Task> tasks_;
  std::deque<std::future<base::Result<base::Bytes>>> frames_;
  std::vector<std::jthread> workers_;
};

}  // namespace bundle
