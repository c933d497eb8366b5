#include "staged_updates.hpp"

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "device_survey.hpp"
#include "plan/room.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using record::RunOutcome;
using record::RunResult;

// What others write meanwhile. The plan for the installation has a reserve of its own.
constexpr std::uint64_t kReserveBytes = std::uint64_t{32} * 1024 * 1024;

/// Whether an installation of this bundle was broken off and has to go on.
bool has_begun(Device& device, const oci::Digest& bundle) {
  const auto open = device.journal.load();
  return open && *open && (*open)->bundle == bundle;
}

/// Room for the copy and, beside it, for what installing from it needs.
base::Status check_room(Device& device, const plan::InstallPlan& plan,
                        const intake::VerifiedBundle& bundle) {
  const auto area = staging_area(device.config);
  OU_TRY(const auto room, free_room(device.config.state_dir));
  const auto others = area.others(bundle.digest());
  const auto missing = area.missing(bundle);
  const std::uint64_t free = room.bytes + others.bytes;
  const std::uint64_t needed = missing.bytes + kReserveBytes + plan.needed_bytes;
  if (needed > free) {
    return Error(ErrorCode::kNotEnoughSpace,
                 plan::megabytes(missing.bytes + kReserveBytes) + " are needed for the copy and " +
                     plan::megabytes(plan.needed_bytes) + " for the installation, " +
                     plan::megabytes(free) + " are free: free " + plan::megabytes(needed - free) +
                     " on the device's data partition");
  }
  const auto needed_inodes = missing.inodes + plan.needed_inodes;
  if (room.inodes != kUnlimitedInodes && needed_inodes > room.inodes + others.inodes) {
    return Error(ErrorCode::kNotEnoughInodes,
                 std::to_string(needed_inodes) +
                     " files are needed for the copy and the "
                     "installation, " +
                     std::to_string(room.inodes) +
                     " are free: remove files on the device's data partition");
  }
  return base::ok();
}

/// A complete copy of a newer bundle stays.
base::Status check_newer(Device& device, const intake::VerifiedBundle& bundle) {
  const auto area = staging_area(device.config);
  const auto copy = area.complete();
  if (!copy || *copy == area.directory_of(bundle.digest())) {
    return base::ok();
  }
  const auto facts = read_copy_facts(*copy);
  if (facts && facts->sequence > bundle.manifest().sequence) {
    return Error(ErrorCode::kSequenceOld, "the device has a copy of a newer bundle (sequence " +
                                              std::to_string(facts->sequence) +
                                              "), which it is about to install");
  }
  return base::ok();
}

base::Status copy(Device& device, const plan::InstallPlan& plan,
                  const intake::VerifiedBundle& bundle, intake::MediumChunks& chunks,
                  const std::stop_token& stop) {
  const auto area = staging_area(device.config);
  OU_CHECK(check_newer(device, bundle));
  OU_CHECK(check_room(device, plan, bundle));
  OU_CHECK(area.remove_others(bundle.digest()));
  return area.copy(bundle, chunks, device.progress, stop);
}

void remove_copy(const intake::StagingArea& area, const std::filesystem::path& copy) {
  if (const auto removed = area.remove(copy); !removed) {
    base::log::warning("the copy on the device stays: " + removed.error().message());
  }
}

RunResult result_of(const base::Status& copied) {
  if (copied) {
    return RunResult::kStaged;
  }
  switch (copied.error().code()) {
    case ErrorCode::kCancelled:
      return RunResult::kInterrupted;
    case ErrorCode::kNotEnoughSpace:
    case ErrorCode::kNotEnoughInodes:
    case ErrorCode::kSequenceOld:
      return RunResult::kRefused;
    default:
      return RunResult::kFailed;
  }
}

}  // namespace

intake::StagingArea staging_area(const Config& config) {
  return intake::StagingArea(config.state_dir / "staged");
}

std::optional<CopyFacts> read_copy_facts(const std::filesystem::path& copy) {
  const auto bytes = base::read_file(copy / bundle::kManifestName, bundle::kMaxManifestBytes);
  const auto json = bytes ? base::Json::parse(base::as_text(*bytes), nullptr, false) : base::Json();
  if (!json.is_object() || !json.contains("sequence") || !json["sequence"].is_number_unsigned() ||
      !json.contains("name") || !json["name"].is_string()) {
    return std::nullopt;
  }
  return CopyFacts{base::printable(json["name"].get<std::string>()),
                   json["sequence"].get<std::uint64_t>()};
}

bool wants_copy(Device& device, const intake::VerifiedBundle& bundle,
                const SessionOptions& options) {
  if (has_begun(device, bundle.digest())) {
    return false;
  }
  const bool for_window = options.obey_window && !device.config.windows.empty();
  return options.copy_first || bundle.manifest().policy.stage ||
         device.config.stage.value_or(for_window);
}

bool may_begin(Device& device, const intake::VerifiedBundle& bundle, const plan::InstallPlan& plan,
               const SessionOptions& options) {
  return !options.obey_window || plan.up_to_date ||
         until_open(device.config.windows, device.clock()) == std::chrono::seconds(0) ||
         has_begun(device, bundle.digest());
}

record::RunOutcome copy_bundle(Device& device, const plan::InstallPlan& plan,
                               const plan::DeviceFacts& facts, const intake::VerifiedBundle& bundle,
                               intake::MediumChunks& chunks, const std::stop_token& stop) {
  RunOutcome outcome;
  outcome.bundle_name = bundle.manifest().name;
  outcome.bundle_digest = bundle.digest().text();
  outcome.directory_name = bundle.directory_name();
  outcome.sequence = bundle.manifest().sequence;
  outcome.from_commit = facts.running_commit;
  outcome.to_commit = plan.to_commit;
  outcome.from_os = plan.from_os;
  outcome.to_os = plan.to_os;
  outcome.started_at = clock_now();
  auto copied = copy(device, plan, bundle, chunks, stop);
  outcome.result = result_of(copied);
  if (!copied) {
    outcome.error = std::move(copied).error();
  }
  outcome.finished_at = clock_now();
  return outcome;
}

std::optional<std::chrono::seconds> copy_due(Device& device,
                                             const std::optional<record::JournalEntry>& open) {
  const auto area = staging_area(device.config);
  const auto copy = area.complete();
  if (!copy) {
    return std::nullopt;
  }
  if (open) {
    return area.directory_of(open->bundle) == *copy ? std::optional(std::chrono::seconds(0))
                                                    : std::nullopt;
  }
  return until_open(device.config.windows, device.clock());
}

std::optional<record::RunOutcome> install_copy(Device& device, const bundle::Trust& trust,
                                               const SessionOptions& options,
                                               std::stop_token stop) {
  const auto area = staging_area(device.config);
  const auto copy = area.complete();
  if (!copy) {
    return std::nullopt;
  }
  MediumContent content;
  const std::string name = copy->filename().string();
  auto directory = base::UntrustedDirectory::open(*copy);
  auto bundle = directory ? intake::open_bundle(*std::move(directory), name, trust)
                          : base::Result<intake::VerifiedBundle>(std::move(directory).error());
  if (bundle) {
    content.bundles.push_back(*std::move(bundle));
  } else {
    content.refused.push_back({name, std::move(bundle).error()});
  }
  auto from_copy = options;
  from_copy.from_copy = true;
  auto outcome = update_from(
      device, std::move(content), from_copy, [](const auto&, const auto&) {}, std::move(stop));
  if (!outcome) {
    return outcome;
  }
  if (outcome->error) {
    outcome->error = std::move(*outcome->error).within("installing from the copy on the device");
  }
  if (outcome->result != RunResult::kInterrupted) {
    remove_copy(area, *copy);
  }
  return outcome;
}

void forget_copy(Device& device, const record::RunOutcome& outcome) {
  if (outcome.result == RunResult::kInterrupted || outcome.result == RunResult::kStaged) {
    return;
  }
  const auto area = staging_area(device.config);
  const auto digest = oci::Digest::parse(outcome.bundle_digest);
  const auto remembered = digest ? device.ledger.find(*digest) : std::nullopt;
  if (remembered && remembered->once_more) {
    return;
  }
  std::error_code unknown;
  if (digest && std::filesystem::exists(area.directory_of(*digest), unknown)) {
    remove_copy(area, area.directory_of(*digest));
  }
}

}  // namespace agent
