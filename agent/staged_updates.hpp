// Updates that are copied to the device before they are installed, and the hours in which
// installing may begin.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>

#include "bundle/trust.hpp"
#include "intake/staging_area.hpp"
#include "plan/install_plan.hpp"
#include "update_session.hpp"

namespace agent {

intake::StagingArea staging_area(const Config& config);

/// What a complete copy says of itself, for people and for comparing; not verified here.
struct CopyFacts {
  std::string name;  // printable
  std::uint64_t sequence = 0;
};
std::optional<CopyFacts> read_copy_facts(const std::filesystem::path& copy);

/// Whether a bundle on a medium is copied first: it asks for it, or the command, or the options do;
/// with a window it is also done unless an option says no. An installation that has begun goes on
/// as it began.
bool wants_copy(Device& device, const intake::VerifiedBundle& bundle,
                const SessionOptions& options);

/// Whether the installation may begin now: in the window, or when it has begun before, or when
/// there is nothing to do.
bool may_begin(Device& device, const intake::VerifiedBundle& bundle, const plan::InstallPlan& plan,
               const SessionOptions& options);

/// Copies the bundle to the device; another copy there goes, unless it is complete and newer.
/// \return kStaged; kRefused for want of room or against a newer copy; kFailed; kInterrupted
record::RunOutcome copy_bundle(Device& device, const plan::InstallPlan& plan,
                               const plan::DeviceFacts& facts, const intake::VerifiedBundle& bundle,
                               intake::MediumChunks& chunks, const std::stop_token& stop);

/// How long until the complete copy is to be installed; nothing when there is none, or when `open`,
/// an update of another bundle, comes first. Zero for one that has begun already.
std::optional<std::chrono::seconds> copy_due(Device& device,
                                             const std::optional<record::JournalEntry>& open);

/// Installs the copy; removes it when that has come to an end of any kind.
/// \return nothing when there is none or when it is not yet time
std::optional<record::RunOutcome> install_copy(Device& device, const bundle::Trust& trust,
                                               const SessionOptions& options, std::stop_token stop);

/// An update has ended: its copy, if there is one, is of no use any more.
void forget_copy(Device& device, const record::RunOutcome& outcome);

}  // namespace agent
