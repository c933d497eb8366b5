#include "update_run.hpp"

#include <chrono>

#include "base/log.hpp"
#include "install/os_step.hpp"
#include "install/pull_step.hpp"
#include "install/release_switch_json.hpp"
#include "plan/install_plan.hpp"
#include "record/identity_backup.hpp"
#include "step_failure.hpp"
#include "update_steps.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using install::ReleaseSwitch;
using record::JournalEntry;
using record::Phase;
using record::RunOutcome;
using record::RunResult;

constexpr std::chrono::seconds kEnginePoll{1};
constexpr int kMaxEngineLosses = 5;  // in one pull: an engine that this many times dies of it
constexpr std::uint64_t kOsSyncInterval = std::uint64_t{16} * 1024 * 1024;

JournalEntry new_entry(const intake::VerifiedBundle& bundle, const Survey& survey) {
  const auto& manifest = bundle.manifest();
  JournalEntry entry{.phase = Phase::kPulling, .bundle = bundle.digest()};
  entry.bundle_name = manifest.name;
  entry.directory_name = bundle.directory_name();
  entry.fleet_uuid = manifest.targets.fleet_uuid;
  entry.sequence = manifest.sequence;
  entry.from_commit = survey.facts.running_commit;
  entry.to_commit = manifest.has_release() ? manifest.release.commit : entry.from_commit;
  entry.app_id = survey.identity.application_id;
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
  if (entry.os) {
    outcome.from_os = entry.os->from_version;
    outcome.to_os = entry.os->to_version;
  }
  outcome.started_at = entry.started_at;
  outcome.finished_at = clock_now();
  return outcome;
}

/// The update was stopped from outside; the journal stays for the next start.
RunOutcome interrupted(const JournalEntry& entry, Error error) {
  return outcome_of(entry, RunResult::kInterrupted, std::move(error));
}

ServiceImages old_images(const std::optional<ReleaseSwitch>& change) {
  return change ? change->old_images : ServiceImages();
}
ServiceImages new_images(const std::optional<ReleaseSwitch>& change) {
  return change ? change->new_images : ServiceImages();
}

/// An agent that was ended while it had the supervisor stopped, as by the restart of the engine
/// that its own change of config.json causes, has left that to the next one.
base::Status leave_supervisor_running(Device& device, const JournalEntry& entry) {
  if (entry.phase == Phase::kPulling) {
    return base::ok();  // nothing has been stopped yet
  }
  auto access = supervisor_access(device);
  return install::resume_supervisor(access);
}

/// Nothing more is to be done for this bundle: remembers a failure, and forgets the journal.
RunOutcome close(Device& device, const JournalEntry& entry, RunResult result, Error why,
                 bool remember) {
  base::Status status;
  if (remember) {
    const bool by_power_cut = why.code() == ErrorCode::kOsNotStarted;
    status = device.ledger.failed(entry.bundle, entry.sequence, clock_now(), why, by_power_cut);
  }
  if (status) {
    status = leave_supervisor_running(device, entry);
  }
  if (status) {
    status = device.journal.clear();
  }
  return status ? outcome_of(entry, result, std::move(why))
                : interrupted(entry, std::move(status).error());
}

/// Nothing that runs was changed: takes back what was brought.
RunOutcome give_up(Device& device, const JournalEntry& entry,
                   const std::optional<ReleaseSwitch>& change, Error why) {
  tidy_names(device, old_images(change), new_images(change));
  return close(device, entry, RunResult::kFailed, std::move(why), false);
}

/// An update that was broken off has left references to its registry in the engine: under the same
/// address they are found again, by the engine and by tidy_names().
void take_over(const JournalEntry& open, JournalEntry& entry) {
  entry.registry_port = open.registry_port;
  entry.registry_token = open.registry_token;
  if (open.bundle == entry.bundle) {
    entry.started_at = open.started_at;
    entry.os = open.os;  // what the boot selector says by now may be the work of a broken-off hook
    entry.phase = open.phase;  // should it be given up now, that hook has to be undone
  }
}

/// Looks at what an earlier run of this or another bundle has left in the journal.
base::Status take_over_journal(Device& device, JournalEntry& entry, const std::stop_token& stop) {
  entry.registry_port = device.config.registry_port;
  OU_TRY(const auto open, device.journal.load());
  if (!open || !waits_for_medium(open->phase)) {
    return base::ok();
  }
  if (open->phase == Phase::kInstallingOs && open->bundle != entry.bundle) {
    OU_CHECK(undo_os(device, *open, stop));
  }
  take_over(*open, entry);
  return base::ok();
}

base::Result<std::unique_ptr<install::LoopbackRegistry>> start_registry(
    const JournalEntry& entry, const bundle::Manifest& manifest, bundle::ChunkProvider& chunks) {
  auto registry = install::LoopbackRegistry::start({entry.registry_port, entry.registry_token},
                                                   manifest, chunks);
  if (!registry && registry.error().code() == ErrorCode::kPortUnavailable &&
      entry.registry_port != 0) {  // somebody else has taken it meanwhile
    registry = install::LoopbackRegistry::start({0, entry.registry_token}, manifest, chunks);
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

/// The images of supervisor and release, inert, into the engine for containers.
base::Status pull_images(Device& device, const JournalEntry& entry,
                         const bundle::Manifest& manifest,
                         const install::LoopbackRegistry& registry,
                         const intake::MediumChunks& chunks, const std::stop_token& stop) {
  std::vector<const bundle::Image*> images;
  for (const auto& image : manifest.images) {
    if (!manifest.os || image.id != manifest.os->image) {
      images.push_back(&image);
    }
  }
  for (int losses = 0;; ++losses) {
    auto pulled = install::pull_images(device.engine, registry, chunks, entry.bundle, images,
                                       device.config.stall_timeout, device.progress, stop);
    const bool lost = !pulled && pulled.error().code() == ErrorCode::kEngineUnavailable;
    if (!lost || losses == kMaxEngineLosses) {
      return pulled;
    }
    base::log::warning("the engine went away: " + pulled.error().message());
    if (!wait_for_engine(device, stop)) {
      return stop.stop_requested()
                 ? Error(ErrorCode::kCancelled, "stopped while the engine was away")
                 : std::move(pulled).error();
    }
  }
}

/// What an update is made of, as far as it has been worked out.
struct Parts {
  plan::InstallPlan plan;
  std::optional<ReleaseSwitch> change;
};

/// From what is true now: pulling can take an hour.
base::Status prepare(Device& device, const Survey& survey, const bundle::Manifest& manifest,
                     Parts& parts, JournalEntry& entry) {
  if (parts.plan.switch_release) {
    auto access = supervisor_access(device);
    OU_TRY(parts.change, install::prepare_switch(access, manifest, survey.identity.api_endpoint));
    entry.release_switch_json = install::to_json(*parts.change);
  }
  if (parts.plan.change_settings) {
    OU_TRY(entry.settings, describe_settings(device, manifest, survey.facts));
  }
  if (parts.plan.install_os) {
    OU_TRY(auto now, describe_os_update(device, *manifest.os));
    if (entry.os && entry.os->from_version == now.from_version) {
      now.running_root = entry.os->running_root;
    }
    entry.os = std::move(now);
  }
  return base::ok();
}

/// Before the first change; an update that is taken up again has its backup, and settings that a
/// hook may have overwritten since. A release alone touches nothing that holds the identity.
base::Status back_up_identity(Device& device, const JournalEntry& entry, const Parts& parts) {
  auto saved = record::back_up_identity(backup_places(device.config), entry.bundle);
  if (!saved && !parts.plan.install_os && !parts.plan.change_settings) {
    base::log::warning("the identity was not backed up: " + saved.error().message());
    return base::ok();
  }
  return saved;
}

/// The device has it all already, from the cloud or an earlier bundle: as if it had been installed,
/// so that no older bundle leads back from it.
RunOutcome up_to_date(Device& device, const JournalEntry& entry) {
  auto status =
      device.ledger.installed(entry.bundle, entry.fleet_uuid, entry.sequence, clock_now());
  return status ? outcome_of(entry, RunResult::kUpToDate)
                : outcome_of(entry, RunResult::kFailed, std::move(status).error());
}

/// Everything that reads the medium. When it returns ok, the medium is no longer needed.
base::Status bring(Device& device, const Survey& survey, const bundle::Manifest& manifest,
                   intake::MediumChunks& chunks, Parts& parts, JournalEntry& entry,
                   const std::stop_token& stop) {
  install::PacedChunks paced(
      chunks, kOsSyncInterval,
      install::file_system_sync(device.config.host_root, "/mnt/sysroot/inactive"));
  OU_TRY(
      const auto registry,
      start_registry(entry, manifest,
                     parts.plan.install_os ? static_cast<bundle::ChunkProvider&>(paced) : chunks));
  entry.registry_port = registry->address().port;
  entry.registry_token = registry->address().token;
  const auto bring_all = [&]() -> base::Status {
    OU_CHECK(device.journal.write(entry));
    OU_CHECK(pull_images(device, entry, manifest, *registry, chunks, stop));
    // Stock Docker leaves that to the kernel: without it, what the journal says next would outlive
    // the images.
    install::file_system_sync(device.config.host_root, "/mnt/data")();
    OU_CHECK(prepare(device, survey, manifest, parts, entry));
    if (!parts.plan.install_os) {
      return base::ok();
    }
    // First: from now on what an earlier update left would be taken for the end of this one.
    OU_CHECK(install::forget_earlier_rollback(device.config.host_root));
    entry.phase = Phase::kInstallingOs;
    OU_CHECK(device.journal.write(entry));
    return install_os(device, entry, *registry, chunks, *manifest.find_image(entry.os->image),
                      stop);
  };
  auto done = bring_all();
  chunks.stop();  // connections of an engine may still wait for the medium
  return done;
}

/// The first phase that needs no medium.
Phase phase_after_bringing(const Parts& parts) {
  if (parts.plan.install_os) {
    return Phase::kRebooting;
  }
  return parts.plan.change_settings ? Phase::kConfiguring : Phase::kSwitching;
}

RunOutcome not_brought(Device& device, const JournalEntry& entry,
                       const std::optional<ReleaseSwitch>& change, Error why,
                       const std::stop_token& stop) {
  if (why.code() == ErrorCode::kCancelled) {
    return interrupted(entry, std::move(why));
  }
  // With balenaHUP's lock in other hands nothing was begun: what there is to undo is not ours.
  if (entry.phase == Phase::kInstallingOs && why.code() != ErrorCode::kUpdateInProgress) {
    base::log::warning("the host OS was not installed: " + why.message());
    if (auto undone = undo_os(device, entry, stop); !undone) {
      return interrupted(entry, std::move(undone).error().as(ErrorCode::kRollbackFailed));
    }
  }
  return give_up(device, entry, change, std::move(why));
}

/// The OS is settled; what comes next, if anything does.
Phase phase_after_os(const JournalEntry& entry) {
  if (entry.settings) {
    return Phase::kConfiguring;
  }
  return entry.release_switch_json.empty() ? Phase::kCommitting : Phase::kSwitching;
}

RunOutcome commit(Device& device, const JournalEntry& entry,
                  const std::optional<ReleaseSwitch>& change) {
  tidy_names(device, new_images(change), old_images(change));
  auto status =
      device.ledger.installed(entry.bundle, entry.fleet_uuid, entry.sequence, clock_now());
  if (status) {
    status = finish_settings(device, entry);
  }
  if (status) {
    status = leave_supervisor_running(device, entry);
  }
  if (status) {
    status = device.journal.clear();
  }
  if (!status) {
    return interrupted(entry, std::move(status).error());
  }
  return outcome_of(entry, RunResult::kUpdated);
}

/// The release is back; what is left needs the boot partition, which may be full or damaged for
/// long: tried again without touching the release another time.
RunOutcome settings_stay(Device& device, JournalEntry entry, Error why, Error obstacle) {
  entry.release_switch_json.clear();
  entry.failure = std::move(why);
  auto status = device.journal.write(entry);
  return interrupted(entry, status ? std::move(obstacle).as(ErrorCode::kRollbackFailed)
                                   : std::move(status).error());
}

RunOutcome revert(Device& device, const JournalEntry& entry,
                  const std::optional<ReleaseSwitch>& change, const std::stop_token& stop) {
  auto why = entry.failure.value_or(Error(ErrorCode::kInterrupted, "the update was broken off"));
  // A supervisor that never answered goes first: nothing of the release has been switched then, and
  // it could not switch anything back.
  if (auto undone = undo_supervisor(device, entry); !undone) {
    return interrupted(entry, std::move(undone).error().as(ErrorCode::kRollbackFailed));
  }
  if (change) {
    if (auto status = revert_release(device, *change, why, stop); !status) {
      return interrupted(entry, std::move(status).error());
    }
  }
  tidy_names(device, old_images(change), new_images(change));
  if (auto undone = undo_boot_settings(device, entry); !undone) {
    return settings_stay(device, entry, std::move(why), std::move(undone).error());
  }
  if (entry.os) {
    const auto code = why.code();
    why = Error(code, why.message() + "; the new host OS " + entry.os->to_version + " stays");
  }
  const bool remember = !is_about_device(why);
  return close(device, entry, RunResult::kReverted, std::move(why), remember);
}

/// The OS has gone back by itself; nothing else was touched yet.
RunOutcome os_went_back(Device& device, const JournalEntry& entry,
                        const std::optional<ReleaseSwitch>& change, Error why) {
  tidy_names(device, old_images(change), new_images(change));
  return close(device, entry, RunResult::kReverted, std::move(why), true);
}

/// One phase of an update that needs no medium. On success `entry` names the next phase.
base::Status take_step(Device& device, JournalEntry& entry,
                       const std::optional<ReleaseSwitch>& change, const std::stop_token& stop) {
  switch (entry.phase) {
    case Phase::kInstallingOs:
      return take_up_os(device, entry, stop);
    case Phase::kRebooting: {
      OU_TRY(const bool restarted, was_restarted(device, entry));
      if (!restarted) {
        return restart_device(device, entry, stop);
      }
      entry.phase = Phase::kConfirmingOs;
      return base::ok();
    }
    case Phase::kConfirmingOs:
      OU_CHECK(confirm_os(device, entry, stop));
      entry.phase = phase_after_os(entry);
      return base::ok();
    case Phase::kConfiguring:
      OU_CHECK(change_settings(device, entry, stop));
      entry.phase = change ? Phase::kSwitching : Phase::kCommitting;
      return base::ok();
    case Phase::kSwitching:
      OU_CHECK(switch_release(device, entry, *change, stop));
      entry.phase = Phase::kConfirming;
      return base::ok();
    case Phase::kConfirming:
      OU_CHECK(confirm_release(device, entry, *change, stop));
      entry.phase = Phase::kCommitting;
      return base::ok();
    case Phase::kPulling:
    case Phase::kCommitting:
    case Phase::kReverting:
      break;
  }
  return Error(ErrorCode::kInternal, "not a step of its own");
}

/// What a failed step means. Nothing: the update goes back, `entry` says so.
std::optional<RunOutcome> failed_step(Device& device, JournalEntry& entry,
                                      const std::optional<ReleaseSwitch>& change, Error why) {
  if (has_gone_back(why)) {
    return os_went_back(device, entry, change, std::move(why));
  }
  if (entry.phase == Phase::kInstallingOs && why.code() == ErrorCode::kOsCheck) {
    return give_up(device, entry, change, std::move(why));  // it was undone
  }
  if (why.code() == ErrorCode::kCancelled || is_retried(entry.phase, why.code())) {
    return interrupted(entry, std::move(why));
  }
  const bool untouched = entry.phase == Phase::kSwitching && !entry.os && !entry.settings;
  if (is_about_device(why) && untouched) {
    return give_up(device, entry, change, std::move(why));
  }
  base::log::warning("going back: " + why.message());
  entry.failure = std::move(why);
  entry.phase = Phase::kReverting;
  return std::nullopt;
}

}  // namespace

bool waits_for_medium(record::Phase phase) {
  return phase == Phase::kPulling || phase == Phase::kInstallingOs;
}

bool needs_medium(Device& device, const record::JournalEntry& entry) {
  if (entry.phase != Phase::kInstallingOs) {
    return entry.phase == Phase::kPulling;
  }
  const auto progress = os_progress(device, entry);
  return progress && *progress == OsProgress::kNeedsMedium;
}

std::uint64_t clock_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
}

record::RunOutcome run_update(Device& device, const Survey& survey,
                              const intake::VerifiedBundle& bundle, intake::MediumChunks& chunks,
                              std::stop_token stop) {
  const auto& manifest = bundle.manifest();
  auto entry = new_entry(bundle, survey);
  auto plan = plan::make_plan(manifest, survey.facts);
  if (!plan) {
    return outcome_of(entry, RunResult::kRefused, plan.error());
  }
  if (plan->up_to_date) {
    return up_to_date(device, entry);
  }
  Parts parts{.plan = *std::move(plan), .change = {}};
  auto ready = take_over_journal(device, entry, stop);
  const bool resumed = entry.os.has_value();
  if (ready) {
    ready = prepare(device, survey, manifest, parts, entry);
  }
  if (ready && !resumed) {
    ready = back_up_identity(device, entry, parts);
  }
  if (!ready) {
    return outcome_of(entry, RunResult::kRefused, std::move(ready).error());
  }
  if (auto brought = bring(device, survey, manifest, chunks, parts, entry, stop); !brought) {
    return not_brought(device, entry, parts.change, std::move(brought).error(), stop);
  }
  auto brought_entry = entry;
  brought_entry.phase = phase_after_bringing(parts);
  if (auto status = device.journal.write(brought_entry); !status) {
    // A device that forgot the update now would start an OS of which nobody knows.
    return not_brought(device, entry, parts.change, std::move(status).error(), stop);
  }
  return finish_update(device, std::move(brought_entry), std::move(stop));
}

record::RunOutcome finish_update(Device& device, record::JournalEntry entry, std::stop_token stop) {
  std::optional<ReleaseSwitch> change;
  if (!entry.release_switch_json.empty()) {
    auto parsed = install::parse_release_switch(entry.release_switch_json);
    if (!parsed) {
      return interrupted(entry, parsed.error());
    }
    change = *std::move(parsed);
  }
  for (;;) {
    if (entry.phase == Phase::kCommitting) {
      return commit(device, entry, change);
    }
    if (entry.phase == Phase::kReverting) {
      return revert(device, entry, change, stop);
    }
    if (auto done = take_step(device, entry, change, stop); !done) {
      if (auto ended = failed_step(device, entry, change, std::move(done).error())) {
        return *std::move(ended);
      }
    }
    if (auto status = device.journal.write(entry); !status) {
      return interrupted(entry, std::move(status).error());
    }
  }
}

record::RunOutcome abandon_update(Device& device, const record::JournalEntry& entry,
                                  base::Error why) {
  std::optional<ReleaseSwitch> change;
  if (auto parsed = install::parse_release_switch(entry.release_switch_json)) {
    change = *std::move(parsed);
  }
  return not_brought(device, entry, change, std::move(why), {});
}

}  // namespace agent
