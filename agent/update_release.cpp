// The steps that switch a device to another release of its fleet, and back.
#include <set>

#include "base/log.hpp"
#include "install/pull_step.hpp"
#include "update_steps.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using install::ReleaseSwitch;
using record::JournalEntry;

constexpr std::chrono::seconds kLockPoll{2};

base::Status settle(Device& device, const ServiceImages& running, const ServiceImages& other) {
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

std::vector<boot::ExpectedService> expected(const ServiceImages& images,
                                            const install::AppRow& row) {
  const auto stopped = install::stopped_services(row);
  std::vector<boot::ExpectedService> services;
  for (const auto& image : images) {
    services.push_back({image.service, image.image, !stopped.contains(image.service)});
  }
  return services;
}

}  // namespace

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

bool is_stop(const base::Status& status) {
  return !status && status.error().code() == ErrorCode::kCancelled;
}

base::Status wait_for_locks(Device& device, const JournalEntry& entry,
                            const std::stop_token& stop) {
  auto left = device.config.wait_for_locks;
  while (!entry.override_update_lock) {
    const auto locks = install::held_update_locks(device.config.update_locks(), entry.app_id);
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
  OU_TRY(const auto target, install::present_target(access, change));
  if (target == install::Target::kNew) {  // before the power went: from here on, locks are the
                                          // supervisor's business
    return base::ok();
  }
  OU_CHECK(wait_for_locks(device, entry, stop));
  device.progress.phase("switching the release", 0);
  return install::apply_switch(access, change, entry.override_update_lock);
}

base::Status confirm_release(Device& device, const JournalEntry& entry, const ReleaseSwitch& change,
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

base::Status revert_release(Device& device, const ReleaseSwitch& change, Error& why,
                            const std::stop_token& stop) {
  device.progress.phase("going back to the previous release", 0);
  auto access = supervisor_access(device);
  if (auto status = install::revert_switch(access, change); !status) {
    return std::move(status).error().as(ErrorCode::kRollbackFailed);
  }
  OU_TRY(const auto target, install::present_target(access, change));
  if (target == install::Target::kOther) {
    base::log::warning("the cloud has given this device another release: that one stays");
    return base::ok();
  }
  const auto back = boot::confirm_release(
      device.engine, device.api, change.old_row.commit, expected(change.old_images, change.old_row),
      change.old_row.app_id,
      {.apply_timeout = device.config.apply_timeout,
       .watch_time = std::chrono::seconds(0),
       .health = bundle::HealthCriterion::kRunning},
      [] { return false; }, device.waiter, stop);
  if (is_stop(back)) {
    return back;
  }
  if (!back) {
    why = Error(ErrorCode::kRollbackFailed,
                back.error().message() + "; it had gone back because: " + why.message());
  }
  return base::ok();
}

void tidy_names(Device& device, const ServiceImages& running, const ServiceImages& other) {
  if (const auto tidied = settle(device, running, other); !tidied) {
    base::log::warning("names of images were not tidied: " + tidied.error().message());
  }
}

}  // namespace agent
