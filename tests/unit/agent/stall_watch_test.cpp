#include "platform/stall_watch.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <future>

namespace {

using agent::platform::StallWatch;
using namespace std::chrono_literals;

/// A stop request that can be waited for.
struct Cancelled {
  bool wait() { return promise.get_future().wait_for(30s) == std::future_status::ready; }
  std::stop_source source;
  std::promise<void> promise;
  std::stop_callback<std::function<void()>> callback{source.get_token(),
                                                     [this] { promise.set_value(); }};
};

}  // namespace

TEST_CASE("stall watch: requests a stop when nothing is heard and nobody is alive") {
  Cancelled cancelled;
  const std::function<bool()> alive = [] { return false; };
  const StallWatch watch(1s, alive, cancelled.source);
  CHECK(cancelled.wait());
  CHECK(watch.stalled());
}

TEST_CASE("stall watch: starts its clock again while there is life") {
  Cancelled cancelled;
  std::atomic<int> asked = 0;
  const std::function<bool()> alive = [&asked] { return ++asked < 3; };
  const StallWatch watch(1s, alive, cancelled.source);
  CHECK(cancelled.wait());
  CHECK(asked == 3);
}

TEST_CASE("stall watch: a message that comes while it asks counts") {
  Cancelled cancelled;
  std::atomic<int> asked = 0;
  StallWatch* heard = nullptr;
  std::promise<void> made;
  auto ready = made.get_future().share();
  const std::function<bool()> alive = [&] {
    ready.wait();
    if (++asked == 1) {
      heard->heard();
    }
    return false;
  };
  StallWatch watch(1s, alive, cancelled.source);
  heard = &watch;
  made.set_value();
  CHECK(cancelled.wait());
  CHECK(asked == 2);
}

TEST_CASE("stall watch: ends without a word when it is no longer needed") {
  Cancelled cancelled;
  const std::function<bool()> alive = [] { return false; };
  { const StallWatch watch(3600s, alive, cancelled.source); }
  CHECK_FALSE(cancelled.source.stop_requested());
}
