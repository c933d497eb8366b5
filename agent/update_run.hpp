// The whole update, from a verified bundle to a confirmed release or back, as one function.
#pragma once

#include <functional>
#include <stop_token>

#include "base/progress.hpp"
#include "boot/confirm.hpp"
#include "config.hpp"
#include "device_survey.hpp"
#include "install/apps_step.hpp"
#include "install/engine.hpp"
#include "install/supervisor.hpp"
#include "intake/medium_chunks.hpp"
#include "intake/verified_bundle.hpp"
#include "record/journal.hpp"
#include "record/ledger.hpp"
#include "record/outcome.hpp"

namespace agent {

/// Seconds since 1970 UTC by the device's clock, which may be wrong: for people, and for the hours
/// in which installing may begin; for no other decision.
std::uint64_t clock_now();

/// The device as an update sees it: the parts of the world that it changes, and its own memory.
struct Device {
  const Config& config;
  install::Engine& engine;
  install::SupervisorDatabase& database;
  install::SupervisorApi& api;
  install::ServiceManager& services;
  record::Journal& journal;
  record::Ledger& ledger;
  base::ProgressSink& progress;
  boot::Waiter& waiter;
  std::function<std::uint64_t()> clock = clock_now;
};

/// Installs the release of `bundle` and confirms it, or goes back. Every step is journalled before
/// it starts and is safe to repeat, so that finish_update() can go on after a power cut. \param
/// chunks gives the bundle's payload, on whatever medium it is at the moment \return never an
/// error: how it ended is in the outcome, also when `stop` interrupted it
record::RunOutcome run_update(Device& device, const Survey& survey,
                              const intake::VerifiedBundle& bundle, intake::MediumChunks& chunks,
                              std::stop_token stop);

/// Goes on with an update that does not need the medium any more. \pre !needs_medium()
record::RunOutcome finish_update(Device& device, record::JournalEntry entry, std::stop_token stop);

/// Whether an update in this phase may be waiting for its medium.
bool waits_for_medium(record::Phase phase);
/// Whether it really is: a device that lost its power while an OS was being installed may have come
/// back with that OS.
bool needs_medium(Device& device, const record::JournalEntry& entry);

/// Gives up an update that was waiting for its medium: removes what it had brought so far.
/// \pre waits_for_medium(entry.phase)
record::RunOutcome abandon_update(Device& device, const record::JournalEntry& entry,
                                  base::Error why);

}  // namespace agent
