// One thread that sleeps until the deadline of what was heard last.
#include "platform/stall_watch.hpp"

namespace agent::platform {

using Clock = std::chrono::steady_clock;

StallWatch::StallWatch(std::chrono::seconds limit, const std::function<bool()>& alive,
                       std::stop_source& cancel)
    : limit_(limit),
      alive_(alive),
      cancel_(cancel),
      thread_([this](const std::stop_token& done) { watch(done); }) {}

void StallWatch::heard() {
  const std::lock_guard lock(mutex_);
  last_ = Clock::now();
}

bool StallWatch::stalled() const {
  const std::lock_guard lock(mutex_);
  return stalled_;
}

void StallWatch::watch(const std::stop_token& done) {
  std::unique_lock lock(mutex_);
  while (!done.stop_requested()) {
    const auto heard_at = last_;
    if (Clock::now() < heard_at + limit_) {
      changed_.wait_until(lock, done, heard_at + limit_, [] { return false; });
      continue;
    }
    lock.unlock();  // the callback may take its time, and heard() must not wait for it
    const bool goes_on = alive_();
    lock.lock();
    if (goes_on) {
      last_ = Clock::now();
    } else if (last_ == heard_at) {
      stalled_ = true;
      lock.unlock();
      cancel_.request_stop();
      return;
    }
  }
}

}  // namespace agent::platform
