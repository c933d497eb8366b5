// Whether a release really runs: by what the engine shows, not by what the supervisor says.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>

#include "base/result.hpp"
#include "boot/waiter.hpp"
#include "bundle/manifest.hpp"
#include "install/apps_step.hpp"
#include "install/engine.hpp"

namespace agent::boot {

struct ConfirmRules {
  std::chrono::seconds apply_timeout;  // until every service runs its image for the first time
  std::chrono::seconds watch_time;     // how long it then has to stay so
  bundle::HealthCriterion health;
};

/// What the engine has to show for one release.
struct ExpectedService {
  std::string name;
  oci::Digest image;
  bool running = true;  // false: the release wants it stopped
};

/// One look at the engine. Pure.
struct ReleaseView {
  bool complete = false;      // every expected service has a container of its image, as wanted;
                              // one that may end counts when it has ended well, too
  std::string missing;        // else: the first that is not, and why, in words
  bool failed = false;        // a service is restarting, exited with an error, or is unhealthy
  std::string failure;        // in words a person can act on
  std::int64_t restarts = 0;  // sum over the release's containers
};
ReleaseView view_release(const std::vector<install::EngineContainer>& containers,
                         const std::vector<ExpectedService>& expected, std::uint64_t app_id,
                         bundle::HealthCriterion health);

/// Waits until the release is applied (supervisor API and engine agree) and has stayed well for
/// watch_time; a restart of the engine or the supervisor meanwhile only starts the watch again.
/// \param commit what the supervisor's API has to name
/// \param locks_held asked while it does not get applied: a held lock is waited for, not a failure
/// \error ErrorCode::kReleaseNotApplied; kReleaseUnhealthy: which service, why; kUpdateLocked when
///   the time is over and locks are held; kCancelled
base::Status confirm_release(install::Engine& engine, install::SupervisorApi& api,
                             const std::string& commit,
                             const std::vector<ExpectedService>& expected, std::uint64_t app_id,
                             const ConfirmRules& rules, const std::function<bool()>& locks_held,
                             Waiter& waiter, std::stop_token stop);

}  // namespace agent::boot
