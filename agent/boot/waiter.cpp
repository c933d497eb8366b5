#include "boot/waiter.hpp"

#include <condition_variable>
#include <mutex>

namespace agent::boot {

bool SteadyWaiter::wait(std::chrono::milliseconds duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_for(lock, stop, duration, [&stop] { return stop.stop_requested(); });
  return !stop.stop_requested();
}

std::chrono::milliseconds SteadyWaiter::now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace agent::boot
