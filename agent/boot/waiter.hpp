// Waiting for time to pass, apart from real time, so that tests need none.
#pragma once

#include <chrono>
#include <stop_token>

namespace agent::boot {

class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  virtual ~Waiter() = default;

  /// \return false as soon as `stop` is asked for, true after `duration`
  virtual bool wait(std::chrono::milliseconds duration, const std::stop_token& stop) = 0;
  /// Time by this waiter's clock, from any beginning; never goes back.
  virtual std::chrono::milliseconds now() = 0;
};

/// The steady clock.
class SteadyWaiter final : public Waiter {
 public:
  bool wait(std::chrono::milliseconds duration, const std::stop_token& stop) override;
  std::chrono::milliseconds now() override;
};

}  // namespace agent::boot
