#include "stop_signals.hpp"

#include <csignal>

namespace tool {
namespace {

constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");
std::atomic<bool> stop_requested = false;

void request_stop(int /*signal*/) {
  stop_requested = true;
}

}  // namespace

StopSignals::StopSignals() {
  stop_requested = false;
  struct sigaction action {};
  action.sa_handler = request_stop;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals.at(i), &action, &before_.at(i));
  }
}

StopSignals::~StopSignals() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals.at(i), &before_.at(i), nullptr);
  }
}

const std::atomic<bool>& StopSignals::requested() {
  return stop_requested;
}

}  // namespace tool
