#include "boot/confirm.hpp"

#include <catch2/catch.hpp>

#include "support/fake_device.hpp"

namespace {

using agent::boot::confirm_release;
using agent::boot::ConfirmRules;
using agent::boot::ExpectedService;
using base::ErrorCode;
using bundle::HealthCriterion;
using support::Behaviour;
using support::digest_of;
using support::FakeDevice;
using namespace std::chrono_literals;

const std::string kCommit(32, '1');

/// Watches the release that the device runs.
struct Watch {
  ConfirmRules rules{.apply_timeout = 600s, .watch_time = 60s, .health = HealthCriterion::kHealthy};
  std::vector<ExpectedService> expected{{"old", digest_of("old"), true},
                                        {"s0", digest_of("s0"), true}};
  bool locked = false;
  FakeDevice device;

  base::Status run(std::stop_token stop = {}) {
    return confirm_release(
        device.engine, device.supervisor, kCommit, expected, FakeDevice::kApp, rules,
        [this] { return locked; }, device.waiter, std::move(stop));
  }
  agent::install::EngineContainer& container(const std::string& service) {
    for (auto& one : device.engine.running) {
      if (one.name == service) {
        return one;
      }
    }
    throw std::runtime_error("no container of " + service);
  }
  /// Calls `change` once, at that time.
  void at(std::chrono::milliseconds when, std::function<void()> change) {
    device.waiter.at_each_wait = [when, change = std::move(change),
                                  done = false](auto now) mutable {
      if (!done && now >= when) {
        done = true;
        change();
      }
    };
  }
};

void check_failure(const base::Status& status, ErrorCode code, const std::string& words) {
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == code);
  CHECK_THAT(status.error().message(), Catch::Contains(words));
}

}  // namespace

TEST_CASE("confirm: a release that runs for the whole watch is good") {
  Watch watch;
  REQUIRE(watch.run());
  CHECK(watch.device.waiter.now() == 60s);
}

TEST_CASE("confirm: without a watch time one good look is enough") {
  Watch watch;
  watch.rules.watch_time = 0s;
  REQUIRE(watch.run());
  CHECK(watch.device.waiter.now() == 0s);
}

TEST_CASE("confirm: a crash loop is given up early, with service and exit code") {
  Watch watch;
  watch.device.engine.behaviours[digest_of("s0")] = Behaviour::kCrashes;
  const auto status = watch.run();
  check_failure(status, ErrorCode::kReleaseUnhealthy, "s0");
  CHECK_THAT(status.error().message(), Catch::Contains("42"));
  CHECK(watch.device.waiter.now() < 60s);
}

TEST_CASE(
    "confirm: a service that has exited with an error is given up, a good exit is waited for") {
  Watch watch;
  watch.container("s0").running = false;
  SECTION("exit code 3") {
    watch.container("s0").exit_code = 3;
    check_failure(watch.run(), ErrorCode::kReleaseUnhealthy, "exit code 3");
    CHECK(watch.device.waiter.now() < 60s);
  }
  SECTION("exit code 0: not running, so not applied") {
    check_failure(watch.run(), ErrorCode::kReleaseNotApplied, "s0");
    CHECK(watch.device.waiter.now() == 600s);
  }
  SECTION("exit code 0 of a service that is not meant to run on") {
    watch.container("s0").may_end = true;
    watch.container("s0").started_at = "2026-01-01T00:00:00Z";
    CHECK(watch.run());
  }
  SECTION("the same, not started yet") {
    watch.container("s0").may_end = true;
    watch.container("s0").started_at = "0001-01-01T00:00:00Z";
    check_failure(watch.run(), ErrorCode::kReleaseNotApplied, "s0");
  }
  SECTION("the release wants it stopped") {
    watch.container("s0").exit_code = 3;
    watch.expected[1].running = false;
    CHECK(watch.run());
  }
}

TEST_CASE("confirm: an unhealthy service fails the release when health counts") {
  Watch watch;
  watch.device.engine.behaviours[digest_of("old")] = Behaviour::kUnhealthy;
  SECTION("healthy is asked for") {
    check_failure(watch.run(), ErrorCode::kReleaseUnhealthy, "old is unhealthy");
  }
  SECTION("running is enough") {
    watch.rules.health = HealthCriterion::kRunning;
    CHECK(watch.run());
  }
}

TEST_CASE("confirm: a health check that is still starting is waited for") {
  Watch watch;
  watch.container("s0").health = "starting";
  watch.at(100s, [&] { watch.container("s0").health = "healthy"; });
  REQUIRE(watch.run());
  CHECK(watch.device.waiter.now() == 160s);
}

TEST_CASE("confirm: a single restart begins the watch anew") {
  Watch watch;
  watch.at(50s, [&] { watch.container("s0").restart_count += 1; });
  REQUIRE(watch.run());
  CHECK(watch.device.waiter.now() >= 110s);
}

TEST_CASE("confirm: a release that breaks again and again is given up") {
  Watch watch;
  watch.device.waiter.at_each_wait = [&](auto now) {
    if (now.count() % 40'000 == 0) {
      watch.container("s0").restart_count += 1;
    }
  };
  check_failure(watch.run(), ErrorCode::kReleaseUnhealthy, "did not stay up");
}

TEST_CASE("confirm: an engine that does not answer is no verdict") {
  Watch watch;
  watch.at(30s, [&] { watch.device.engine.away = true; });
  SECTION("it comes back") {
    auto leave = watch.device.waiter.at_each_wait;
    watch.device.waiter.at_each_wait = [&, leave](auto now) mutable {
      leave(now);
      if (now >= 200s) {
        watch.device.engine.away = false;
      }
    };
    REQUIRE(watch.run());
    CHECK(watch.device.waiter.now() == 260s);
  }
  SECTION("it does not, for as long as applying may take") {
    check_failure(watch.run(), ErrorCode::kReleaseNotApplied, "does not answer");
  }
}

TEST_CASE("confirm: the supervisor has to say that the release is applied") {
  Watch watch;
  watch.device.supervisor.runs = false;
  SECTION("it starts later") {
    watch.at(20s, [&] { watch.device.supervisor.runs = true; });
    REQUIRE(watch.run());
    CHECK(watch.device.waiter.now() >= 80s);
  }
  SECTION("it never does") {
    check_failure(watch.run(), ErrorCode::kReleaseNotApplied, "made to fail");
  }
}

TEST_CASE("confirm: a release that is not applied in time is told apart from one that is locked") {
  Watch watch;
  watch.expected[1].image = digest_of("another");
  SECTION("nothing holds a lock") {
    check_failure(watch.run(), ErrorCode::kReleaseNotApplied, "s0");
  }
  SECTION("a lock is held") {
    watch.locked = true;
    check_failure(watch.run(), ErrorCode::kUpdateLocked, "lock");
  }
  CHECK(watch.device.waiter.now() == 600s);
}

TEST_CASE("confirm: a container of a service that is gone from the release is waited out") {
  Watch watch;
  watch.expected.pop_back();
  check_failure(watch.run(), ErrorCode::kReleaseNotApplied, "s0 still has a container");
}

TEST_CASE("confirm: containers of other apps and of the host are nobody's business") {
  Watch watch;
  auto other = watch.container("s0");
  other.labels["io.balena.app-id"] = "8";
  other.restarting = true;
  other.image_id = digest_of("something");
  watch.device.engine.running.push_back(other);
  CHECK(watch.run());
}

TEST_CASE("confirm: a stop ends it without a verdict") {
  Watch watch;
  std::stop_source stop;
  watch.at(30s, [&] { stop.request_stop(); });
  check_failure(watch.run(stop.get_token()), ErrorCode::kCancelled, "stopped");
  CHECK(watch.device.waiter.now() == 30s);
}
