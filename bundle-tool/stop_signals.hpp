// SIGINT and SIGTERM as a request to stop, for work that has to end in order.
#pragma once

#include <signal.h>

#include <array>
#include <atomic>

namespace tool {

/// While one lives, the first SIGINT, SIGTERM or SIGHUP sets requested(); a second one of the same
/// kind ends the program as it would have without. There is at most one at a time.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  [[nodiscard]] static const std::atomic<bool>& requested();

 private:
  std::array<struct sigaction, 3> before_{};
};

}  // namespace tool
