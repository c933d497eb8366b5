// Ends a call that makes no progress.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace agent::platform {

/// Requests a stop when heard() was not called for `limit` and `alive` then says false; a true
/// starts the clock again. The watch ends with the object.
class StallWatch {
 public:
  /// \param limit more than zero
  /// \param alive called from the watch's thread; outlives it, as does `cancel`
  StallWatch(std::chrono::seconds limit, const std::function<bool()>& alive,
             std::stop_source& cancel);
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;
  ~StallWatch() = default;

  void heard();
  /// Whether it was this watch that requested the stop.
  [[nodiscard]] bool stalled() const;

 private:
  void watch(const std::stop_token& done);

  const std::chrono::seconds limit_;
  const std::function<bool()>& alive_;
  std::stop_source& cancel_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool stalled_ = false;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace agent::platform
