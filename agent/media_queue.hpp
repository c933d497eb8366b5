// Media in the order in which they came, handed from the event loop to a thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>

#include "media/block_device.hpp"

namespace agent {

class MediaQueue {
 public:
  using Medium = media::Medium;

  void push(Medium medium) {
    const std::lock_guard lock(mutex_);
    media_.push_back(std::move(medium));
    changed_.notify_all();
  }
  void remove(dev_t disk) {
    const std::lock_guard lock(mutex_);
    std::erase_if(media_, [disk](const auto& medium) { return medium.disk.number == disk; });
  }
  /// The next one; nothing when `stop` was asked for or `deadline` has passed.
  std::optional<Medium> pop(const std::stop_token& stop,
                            std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, stop, deadline, [this] { return !media_.empty(); })) {
      return std::nullopt;
    }
    auto medium = std::move(media_.front());
    media_.pop_front();
    return medium;
  }
  /// Those that wait now; they stay in it.
  [[nodiscard]] std::deque<Medium> all() {
    const std::lock_guard lock(mutex_);
    return media_;
  }
  [[nodiscard]] bool empty() {
    const std::lock_guard lock(mutex_);
    return media_.empty();
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Medium> media_;
};

}  // namespace agent
