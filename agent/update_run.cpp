#include "update_run.hpp"

#include <chrono>
#include <set>

#include "base/log.hpp"
#include "install/loopback_registry.hpp"
#include "install/pull_step.hpp"
#include "install/release_switch_json.hpp"
#include "plan/install_plan.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using install::ReleaseSwitch;
using record::JournalEntry;
using record::Phase;
using record::RunOutcome;
using record::RunResult;

constexpr std::chrono::seconds kLockPoll{2};
constexpr std::chrono::seconds kEnginePoll{1};
constexpr int kMaxEngineLosses = 5;  // in one pull: an engine that this many times dies of it

install::SupervisorAccess supervisor_access(Device& device) {
  return {.engine = device.engine,
          .database = device.database,
          .api = device.api,
          .services = device.services,
          .supervisor_unit = device.config.supervisor_unit,
          .supervisor_timer = device.config.supervisor_timer,
          .update_locks = device.config.update_locks(),
          .state_dir = device.config.state_dir};
}

JournalEntry new_entry(const intake::VerifiedBundle& bundle, const Survey& survey) {
  const auto& manifest = bundle.manifest();
  JournalEntry entry{.phase = Phase::kPulling, .bundle = bundle.digest()};
  entry.bundle_name = manifest.name;
  entry.directory_name = bundle.directory_name();
  entry.fleet_uuid = manifest.targets.fleet_uuid;
  entry.sequence = manifest.sequence;
  entry.from_commit = survey.facts.running_commit;
  entry.to_commit = manifest.release.commit;
  entry.started_at = clock_now();
  entry.confirm_seconds = manifest.policy.confirm_seconds;
  entry.require_healthy = manifest.policy.health == bundle::HealthCriterion::kHealthy;
  entry.override_update_lock = manifest.policy.override_update_lock;
  return entry;
}

RunOutcome outcome_of(const JournalEntry& entry, RunResult result,
                      std::optional<Error> error = std::nullopt) {
  RunOutcome outcome{.result = result, .error = std::move(error)};
  outcome.bundle_name = entry.bundle_name;
  outcome.bundle_digest = entry.bundle.text();
  outcome.directory_name = entry.directory_name;
  outcome.sequence = entry.sequence;
  outcome.from_commit = entry.from_commit;
  outcome.to_commit = entry.to_commit;
  outcome.started_at = entry.started_at;
  outcome.finished_at = clock_now();
  return outcome;
}

/// The update was stopped from outside; the journal stays for the next start.
RunOutcome interrupted(const JournalEntry& entry, Error error) {
  return outcome_of(entry, RunResult::kInterrupted, std::move(error));
}

/// Sets the names of the release that runs, and removes our own tags, the loopback references that
/// a broken-off pull left, and the names that only the other release had.
base::Status tidy_names(Device& device, const std::vector<ReleaseSwitch::ServiceImage>& running,
                        const std::vector<ReleaseSwitch::ServiceImage>& other) {
  std::set<std::string> wanted;
  for (const auto& image : running) {
    wanted.insert(image.name);
  }
  std::vector<std::string> drop;
  for (const auto& image : other) {
    if (!wanted.contains(image.name)) {
      drop.push_back(image.name);
    }
  }
  OU_TRY(const auto images, device.engine.images());
  for (const auto& image : images) {
    for (const auto& tag : image.tags) {
      if (install::is_keep_tag(tag)) {
        drop.push_back(tag);
      }
    }
    for (const auto& digest : image.digests) {
      if (install::is_loopback_reference(digest)) {
        drop.push_back(digest);
      }
    }
  }
  auto access = supervisor_access(device);
  return install::settle_names(access, running, drop);
}

/// Left-over names cost room, not correctness: reported, and the next update tidies again.
void tidy_or_warn(Device& device, const std::vector<ReleaseSwitch::ServiceImage>& running,
                  const std::vector<ReleaseSwitch::ServiceImage>& other) {
  if (const auto tidied = tidy_names(device, running, other); !tidied) {
    base::log::warning("names of images were not tidied: " + tidied.error().message());
  }
}

std::vector<boot::ExpectedService> expected(const std::vector<ReleaseSwitch::ServiceImage>& images,
                                            const install::AppRow& row) {
  const auto stopped = install::stopped_services(row);
  std::vector<boot::ExpectedService> services;
  for (const auto& image : images) {
    services.push_back({image.service, image.image, !stopped.contains(image.service)});
  }
  return services;
}

// One after the other, the steps of an update. Each does its work for one phase and names the next.

/// An update that was broken off while it pulled has left references to its registry in the engine:
/// under the same address they are found again, by the engine and by tidy_names().
base::Status take_over_address(Device& device, JournalEntry& entry) {
  entry.registry_port = device.config.registry_port;
  OU_TRY(const auto open, device.journal.load());
  if (open && open->phase == Phase::kPulling) {
    entry.registry_port = open->registry_port;
    entry.registry_token = open->registry_token;
  }
  return base::ok();
}

base::Result<std::unique_ptr<install::LoopbackRegistry>> start_registry(
    const JournalEntry& entry, const intake::VerifiedBundle& bundle, intake::MediumChunks& chunks) {
  auto registry = install::LoopbackRegistry::start({entry.registry_port, entry.registry_token},
                                                   bundle.manifest(), chunks);
  if (!registry && registry.error().code() == ErrorCode::kPortUnavailable &&
      entry.registry_port != 0) {  // somebody else has taken it meanwhile
    registry =
        install::LoopbackRegistry::start({0, entry.registry_token}, bundle.manifest(), chunks);
  }
  return registry;
}

/// An engine that was killed or restarted is back in seconds. \return whether it answers again
bool wait_for_engine(Device& device, const std::stop_token& stop) {
  device.progress.phase("waiting for the engine", 0);
  const auto deadline = device.waiter.now() + device.config.stall_timeout;
  while (device.waiter.now() < deadline && device.waiter.wait(kEnginePoll, stop)) {
    if (device.engine.facts()) {
      return true;
    }
  }
  return false;
}

base::Status pull(Device& device, JournalEntry& entry, const intake::VerifiedBundle& bundle,
                  intake::MediumChunks& chunks, const std::stop_token& stop) {
  OU_CHECK(take_over_address(device, entry));
  OU_TRY(const auto registry, start_registry(entry, bundle, chunks));
  entry.registry_port = registry->address().port;
  entry.registry_token = registry->address().token;
  OU_CHECK(device.journal.write(entry));
  std::vector<const bundle::Image*> images;
  for (const auto& image : bundle.manifest().images) {
    images.push_back(&image);
  }
  base::Status pulled;
  for (int losses = 0;; ++losses) {
    pulled = install::pull_images(device.engine, *registry, chunks, entry.bundle, images,
                                  device.config.stall_timeout, device.progress, stop);
    const bool lost = !pulled && pulled.error().code() == ErrorCode::kEngineUnavailable;
    if (!lost || losses == kMaxEngineLosses) {
      break;
    }
    base::log::warning("the engine went away: " + pulled.error().message());
    if (!wait_for_engine(device, stop)) {
      if (stop.stop_requested()) {
        pulled = Error(ErrorCode::kCancelled, "stopped while the engine was away");
      }
      break;
    }
  }
  chunks.stop();  // connections of the engine may still wait for the medium
  return pulled;
}

/// Update locks are waited for; the person or program that holds one may need a while.
base::Status wait_for_locks(Device& device, const JournalEntry& entry, std::uint64_t app_id,
                            const std::stop_token& stop) {
  auto left = device.config.wait_for_locks;
  while (!entry.override_update_lock) {
    const auto locks = install::held_update_locks(device.config.update_locks(), app_id);
    if (locks.empty()) {
      break;
    }
    if (left <= std::chrono::seconds(0)) {
      return Error(ErrorCode::kUpdateLocked,
                   "a service still holds its update lock " + locks.front().string());
    }
    if (left == device.config.wait_for_locks) {
      base::log::info("waiting for the update lock " + locks.front().string());
      device.progress.phase("waiting for an update lock", 0);
    }
    if (!device.waiter.wait(kLockPoll, stop)) {
      return Error(ErrorCode::kCancelled, "stopped while waiting for an update lock");
    }
    left -= kLockPoll;
  }
  return base::ok();
}

base::Status switch_release(Device& device, const JournalEntry& entry, const ReleaseSwitch& change,
                            const std::stop_token& stop) {
  auto access = supervisor_access(device);
  OU_CHECK(install::resume_supervisor(access));
  OU_TRY(const bool switched, install::is_switched(access, change));
  if (switched) {  // before the power went: from here on, locks are the supervisor's business
    return base::ok();
  }
  OU_CHECK(wait_for_locks(device, entry, change.new_row.app_id, stop));
  device.progress.phase("switching the release", 0);
  return install::apply_switch(access, change, entry.override_update_lock);
}

base::Status confirm(Device& device, const JournalEntry& entry, const ReleaseSwitch& change,
                     std::stop_token stop) {
  device.progress.phase("watching the new release", 0);
  const auto app_id = change.new_row.app_id;
  return boot::confirm_release(
      device.engine, device.api, change.new_row.commit, expected(change.new_images, change.new_row),
      app_id,
      {.apply_timeout = device.config.apply_timeout,
       .watch_time = std::chrono::seconds(entry.confirm_seconds),
       .health = entry.require_healthy ? bundle::HealthCriterion::kHealthy
                                       : bundle::HealthCriterion::kRunning},
      [&] { return !install::held_update_locks(device.config.update_locks(), app_id).empty(); },
      device.waiter, std::move(stop));
}

RunOutcome commit(Device& device, const JournalEntry& entry, const ReleaseSwitch& change) {
  tidy_or_warn(device, change.new_images, change.old_images);
  auto status =
      device.ledger.installed(entry.bundle, entry.fleet_uuid, entry.sequence, clock_now());
  if (status) {
    status = device.journal.clear();
  }
  if (!status) {
    return interrupted(entry, std::move(status).error());
  }
  return outcome_of(entry, RunResult::kUpdated);
}

RunOutcome revert(Device& device, const JournalEntry& entry, const ReleaseSwitch& change,
                  std::stop_token stop) {
  device.progress.phase("going back to the previous release", 0);
  auto why = entry.failure.value_or(Error(ErrorCode::kInterrupted, "the update was broken off"));
  auto access = supervisor_access(device);
  if (auto status = install::revert_switch(access, change); !status) {
    return interrupted(entry, std::move(status).error().as(ErrorCode::kRollbackFailed));
  }
  const auto back = boot::confirm_release(
      device.engine, device.api, change.old_row.commit, expected(change.old_images, change.old_row),
      change.old_row.app_id,
      {.apply_timeout = device.config.apply_timeout,
       .watch_time = std::chrono::seconds(0),
       .health = bundle::HealthCriterion::kRunning},
      [] { return false; }, device.waiter, stop);
  if (!back && back.error().code() == ErrorCode::kCancelled) {
    return interrupted(entry, back.error());
  }
  if (!back) {  // what the supervisor was told is right; it goes on trying by itself
    why = Error(ErrorCode::kRollbackFailed,
                back.error().message() + "; it had gone back because: " + why.message());
  }
  tidy_or_warn(device, change.old_images, change.new_images);
  base::Status status;
  if (why.code() != ErrorCode::kUpdateLocked) {  // a lock says nothing about the bundle
    status = device.ledger.failed(entry.bundle, entry.sequence, clock_now(), why);
  }
  if (status) {
    status = device.journal.clear();
  }
  if (!status) {
    return interrupted(entry, std::move(status).error());
  }
  return outcome_of(entry, RunResult::kReverted, std::move(why));
}

/// Nothing that runs was changed: takes back what was brought.
RunOutcome give_up(Device& device, const JournalEntry& entry,
                   const std::vector<ReleaseSwitch::ServiceImage>& running,
                   const std::vector<ReleaseSwitch::ServiceImage>& other, Error why) {
  tidy_or_warn(device, running, other);
  if (auto status = device.journal.clear(); !status) {
    return interrupted(entry, std::move(status).error());
  }
  return outcome_of(entry, RunResult::kFailed, std::move(why));
}

bool is_stop(const base::Status& status) {
  return !status && status.error().code() == ErrorCode::kCancelled;
}

}  // namespace

std::uint64_t clock_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

record::RunOutcome run_update(Device& device, const Survey& survey,
                              const intake::VerifiedBundle& bundle, intake::MediumChunks& chunks,
                              std::stop_token stop) {
  auto entry = new_entry(bundle, survey);
  const auto plan = plan::make_plan(bundle.manifest(), survey.facts);
  if (!plan) {
    return outcome_of(entry, RunResult::kRefused, plan.error());
  }
  if (plan->up_to_date) {
    return outcome_of(entry, RunResult::kUpToDate);
  }
  auto access = supervisor_access(device);
  auto change = install::prepare_switch(access, bundle.manifest(), survey.identity.api_endpoint);
  if (!change) {
    return outcome_of(entry, RunResult::kRefused, std::move(change).error());
  }

  if (auto pulled = pull(device, entry, bundle, chunks, stop); !pulled) {
    return is_stop(pulled)
               ? interrupted(entry, std::move(pulled).error())
               : give_up(device, entry, change->old_images, {}, std::move(pulled).error());
  }

  // Pulling can take an hour: the switch is made from what is true now.
  change = install::prepare_switch(access, bundle.manifest(), survey.identity.api_endpoint);
  if (!change) {
    return give_up(device, entry, {}, {}, std::move(change).error());
  }
  entry.phase = Phase::kSwitching;
  entry.release_switch_json = install::to_json(*change);
  if (auto status = device.journal.write(entry); !status) {
    return give_up(device, entry, change->old_images, {}, std::move(status).error());
  }
  return finish_update(device, std::move(entry), std::move(stop));
}

record::RunOutcome finish_update(Device& device, record::JournalEntry entry, std::stop_token stop) {
  const auto change = install::parse_release_switch(entry.release_switch_json);
  if (!change) {
    return interrupted(entry, change.error());
  }
  for (;;) {
    base::Status done;
    switch (entry.phase) {
      case Phase::kPulling:
        return interrupted(entry, Error(ErrorCode::kInternal, "the images are not complete"));
      case Phase::kSwitching:
        done = switch_release(device, entry, *change, stop);
        if (!done && done.error().code() == ErrorCode::kUpdateLocked) {
          return give_up(device, entry, change->old_images, change->new_images,
                         std::move(done).error());
        }
        entry.phase = Phase::kConfirming;
        break;
      case Phase::kConfirming:
        done = confirm(device, entry, *change, stop);
        entry.phase = Phase::kCommitting;
        break;
      case Phase::kCommitting:
        return commit(device, entry, *change);
      case Phase::kReverting:
        return revert(device, entry, *change, std::move(stop));
    }
    if (is_stop(done)) {
      return interrupted(entry, std::move(done).error());
    }
    if (!done) {
      base::log::warning("going back: " + done.error().message());
      entry.failure = std::move(done).error();
      entry.phase = Phase::kReverting;
    }
    if (auto status = device.journal.write(entry); !status) {
      return interrupted(entry, std::move(status).error());
    }
  }
}

record::RunOutcome abandon_update(Device& device, const record::JournalEntry& entry,
                                  base::Error why) {
  return give_up(device, entry, {}, {}, std::move(why));
}

}  // namespace agent
