#include "boot/confirm.hpp"

#include <algorithm>
#include <map>

namespace agent::boot {
namespace {

using base::Error;
using base::ErrorCode;
using install::EngineContainer;

constexpr std::chrono::seconds kPoll{1};
// A service that waits for another by crashing needs a few starts; one that never works needs many.
constexpr std::int64_t kMaxRestarts = 5;
constexpr int kMaxFailedLooks = 15;
constexpr int kMaxBreaks = 3;

std::string label(const EngineContainer& container, const std::string& name) {
  const auto found = container.labels.find(name);
  return found == container.labels.end() ? "" : found->second;
}

/// The service that a container of this app stands for; empty for any other container.
std::string service_of(const EngineContainer& container, std::uint64_t app_id) {
  return label(container, "io.balena.app-id") == std::to_string(app_id)
             ? label(container, "io.balena.service-name")
             : "";
}

bool is_failed(const EngineContainer& container) {
  return container.restarting || (!container.running && container.exit_code != 0) ||
         container.health == "unhealthy";
}

/// A service that has done its work and is not meant to run on. A container that was made and not
/// started yet looks like one but for its start. \source Docker's Go zero time
bool has_done_its_work(const EngineContainer& container) {
  const bool started =
      !container.started_at.empty() && !container.started_at.starts_with("0001-01-01");
  return container.may_end && started && !container.running && !container.restarting &&
         container.exit_code == 0;
}

std::string describe(const std::string& service, const EngineContainer& container) {
  if (container.health == "unhealthy") {
    return "service " + service + " is unhealthy by its own health check";
  }
  return "service " + service +
         (container.restarting ? " crashes and is restarted" : " has exited") + " (exit code " +
         std::to_string(container.exit_code) + ", " + std::to_string(container.restart_count) +
         " restarts)";
}

void look_at(const EngineContainer& container, const ExpectedService& service,
             bundle::HealthCriterion health, ReleaseView& view) {
  view.restarts += container.restart_count;
  if (!service.running || has_done_its_work(container)) {
    return;
  }
  const bool unhealthy_counts = health == bundle::HealthCriterion::kHealthy;
  if (is_failed(container) && (unhealthy_counts || container.health != "unhealthy")) {
    view.failed = true;
    view.failure = describe(service.name, container);
  }
  if (!container.running || container.restarting) {
    view.missing = "service " + service.name + " is not running";
  } else if (unhealthy_counts && !container.health.empty() && container.health != "healthy") {
    view.missing = "service " + service.name + " is not healthy yet";
  }
}

/// Follows one release until it is good or given up.
class Confirmation {
 public:
  Confirmation(install::Engine& engine, install::SupervisorApi& api, const std::string& commit,
               const std::vector<ExpectedService>& expected, std::uint64_t app_id,
               const ConfirmRules& rules, Waiter& waiter)
      : engine_(engine),
        api_(api),
        commit_(commit),
        expected_(expected),
        app_id_(app_id),
        rules_(rules),
        waiter_(waiter),
        deadline_(waiter.now() + rules.apply_timeout) {}

  base::Status run(const std::function<bool()>& locks_held, const std::stop_token& stop) {
    for (;;) {
      const auto view = look();
      OU_CHECK(judge(view));
      if (watched_since_ && waiter_.now() - *watched_since_ >= rules_.watch_time) {
        return base::ok();
      }
      if (!watched_since_ && waiter_.now() >= deadline_) {
        return locks_held() ? Error(ErrorCode::kUpdateLocked,
                                    "an update lock has kept the release from being started")
                            : Error(ErrorCode::kReleaseNotApplied, missing_);
      }
      if (!waiter_.wait(kPoll, stop)) {
        return Error(ErrorCode::kCancelled, "stopped while watching the release");
      }
    }
  }

 private:
  /// What the engine shows; nothing while it does not answer, which is no verdict.
  std::optional<ReleaseView> look() {
    const auto containers = engine_.containers();
    if (!containers) {
      missing_ = containers.error().message();
      return std::nullopt;
    }
    auto view = view_release(*containers, expected_, app_id_, rules_.health);
    if (!view.complete) {
      missing_ = view.missing;
    }
    return view;
  }

  /// The supervisor has to be done too: until then it may still replace containers.
  bool applied() {
    const auto status = api_.status();
    if (!status) {
      missing_ = status.error().message();
      return false;
    }
    if (status->app_state != "applied" || status->release != commit_) {
      missing_ = "the supervisor is still applying the release";
      return false;
    }
    return true;
  }

  base::Status judge(const std::optional<ReleaseView>& view) {
    if (view) {
      first_restarts_ = std::min(first_restarts_.value_or(view->restarts), view->restarts);
      failed_looks_ = view->failed ? failed_looks_ + 1 : 0;
      if (view->failed) {
        failure_ = view->failure;
      }
      if (view->restarts - *first_restarts_ >= kMaxRestarts || failed_looks_ >= kMaxFailedLooks) {
        return Error(ErrorCode::kReleaseUnhealthy, failure_.empty() ? missing_ : failure_);
      }
    }
    const bool good = view && view->complete && !view->failed &&
                      (!watched_since_ || view->restarts == watched_restarts_);
    if (watched_since_ && !good) {
      watched_since_.reset();
      deadline_ = waiter_.now() + rules_.apply_timeout;
      if (view && ++breaks_ >= kMaxBreaks) {
        return Error(ErrorCode::kReleaseUnhealthy,
                     "the release did not stay up for " +
                         std::to_string(rules_.watch_time.count()) +
                         " s: " + (failure_.empty() ? missing_ : failure_));
      }
    }
    if (!watched_since_ && good && applied()) {
      watched_since_ = waiter_.now();
      watched_restarts_ = view->restarts;
    }
    return base::ok();
  }

  install::Engine& engine_;
  install::SupervisorApi& api_;
  const std::string& commit_;
  const std::vector<ExpectedService>& expected_;
  std::uint64_t app_id_;
  const ConfirmRules& rules_;
  Waiter& waiter_;
  std::chrono::milliseconds deadline_;
  std::optional<std::chrono::milliseconds> watched_since_;
  std::int64_t watched_restarts_ = 0;
  std::optional<std::int64_t> first_restarts_;
  int failed_looks_ = 0;
  int breaks_ = 0;
  std::string missing_ = "the engine shows nothing of the release";
  std::string failure_;
};

}  // namespace

ReleaseView view_release(const std::vector<EngineContainer>& containers,
                         const std::vector<ExpectedService>& expected, std::uint64_t app_id,
                         bundle::HealthCriterion health) {
  ReleaseView view;
  std::map<std::string, const ExpectedService*> wanted;
  for (const auto& service : expected) {
    wanted.emplace(service.name, &service);
  }
  std::map<std::string, int> seen;
  for (const auto& container : containers) {
    const auto name = service_of(container, app_id);
    if (name.empty()) {
      continue;
    }
    const auto service = wanted.find(name);
    if (service == wanted.end() || service->second->image != container.image_id) {
      view.missing = "service " + name + " still has a container of another release";
      continue;
    }
    seen[name] += 1;
    look_at(container, *service->second, health, view);
  }
  for (const auto& service : expected) {
    if (service.running && seen[service.name] == 0) {
      view.missing = "service " + service.name + " has no container of its new image";
    }
  }
  view.complete = view.missing.empty();
  return view;
}

base::Status confirm_release(install::Engine& engine, install::SupervisorApi& api,
                             const std::string& commit,
                             const std::vector<ExpectedService>& expected, std::uint64_t app_id,
                             const ConfirmRules& rules, const std::function<bool()>& locks_held,
                             Waiter& waiter, std::stop_token stop) {
  return Confirmation(engine, api, commit, expected, app_id, rules, waiter).run(locks_held, stop);
}

}  // namespace agent::boot
