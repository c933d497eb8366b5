#include "update_session.hpp"

#include "base/log.hpp"
#include "base/printable.hpp"
#include "intake/bundle_finder.hpp"
#include "staged_updates.hpp"

namespace agent {
namespace {

using record::RunOutcome;
using record::RunResult;

void add_bundle(base::Result<base::UntrustedDirectory> directory, const std::string& name,
                const bundle::Trust& trust, MediumContent& content) {
  if (!directory) {
    content.refused.push_back({base::printable(name), std::move(directory).error()});
    return;
  }
  auto bundle = intake::open_bundle(*std::move(directory), base::printable(name), trust);
  if (bundle) {
    content.bundles.push_back(*std::move(bundle));
  } else {
    content.refused.push_back({base::printable(name), std::move(bundle).error()});
  }
}

/// The outcome when no bundle is taken: that of the first bundle that was looked at.
RunOutcome nothing_taken(std::vector<record::OtherBundle> others, const Survey& survey) {
  RunOutcome outcome{.result = RunResult::kRefused, .error = others.front().why};
  outcome.directory_name = others.front().directory_name;
  outcome.from_commit = survey.facts.running_commit;
  others.erase(others.begin());
  outcome.others = std::move(others);
  outcome.started_at = outcome.finished_at = clock_now();
  return outcome;
}

/// An installation of an OS that this agent has begun is no obstacle to its own going on.
void forgive_own_update(Device& device, Survey& survey) {
  const auto open = device.journal.load();
  if (open && *open && (*open)->phase == record::Phase::kInstallingOs) {
    survey.facts.os_state = {};
  }
}

}  // namespace

void open_bundles(const base::UntrustedDirectory& root, const bundle::Trust& trust,
                  MediumContent& content) {
  if (root.open_file(std::string(bundle::kManifestName))) {
    add_bundle(root.duplicate(), "(the directory itself)", trust, content);
    return;
  }
  auto found = intake::find_bundles(root);
  if (!found) {
    content.refused.push_back({"(medium)", std::move(found).error()});
    return;
  }
  for (auto& [name, why] : found->refused) {
    content.refused.push_back({base::printable(name), std::move(why)});
  }
  for (const auto& name : found->names) {
    add_bundle(root.open_directory(name), name, trust, content);
  }
}

std::optional<record::RunOutcome> update_from(Device& device, MediumContent content,
                                              const SessionOptions& options,
                                              const ActiveUpdate& active, std::stop_token stop) {
  if (content.bundles.empty() && content.refused.empty()) {
    return std::nullopt;
  }
  auto survey = survey_device(device.config, device.engine, device.database, device.api,
                              device.ledger, bring_os(content.bundles));
  if (survey) {
    forgive_own_update(device, *survey);
  }
  if (!survey) {
    // The engine may still be starting; a copy is worth another look.
    RunOutcome outcome{.result = options.from_copy ? RunResult::kInterrupted : RunResult::kRefused,
                       .error = survey.error()};
    outcome.others = std::move(content.refused);
    outcome.started_at = outcome.finished_at = clock_now();
    return outcome;
  }
  auto choice =
      choose_bundle(content.bundles, std::move(content.refused), survey->facts, device.ledger);
  if (!choice.chosen) {
    auto outcome = nothing_taken(std::move(choice.others), *survey);
    outcome.device_uuid = survey->identity.uuid;
    return outcome;
  }

  const auto& bundle = content.bundles[*choice.chosen];
  const bool copies =
      !options.from_copy && !choice.plan->up_to_date && wants_copy(device, bundle, options);
  if (!copies && !may_begin(device, bundle, *choice.plan, options)) {
    base::log::info(bundle.directory_name() + " waits for the window in which it may be installed");
    return std::nullopt;
  }
  base::log::info("taking " + bundle.directory_name() + " (" +
                  base::printable(bundle.manifest().name) + ", sequence " +
                  std::to_string(bundle.manifest().sequence) + ")");
  auto directory = bundle.directory().duplicate();
  if (!directory) {
    RunOutcome outcome{.result = RunResult::kRefused, .error = std::move(directory).error()};
    outcome.started_at = outcome.finished_at = clock_now();
    return outcome;
  }
  const auto chunks = std::make_shared<intake::MediumChunks>(
      *std::move(directory),
      options.from_copy ? std::chrono::seconds(0) : device.config.wait_for_medium,
      [&device](bool waiting) {
        device.progress.phase(waiting ? "waiting for the medium" : "reading the medium", 0);
        base::log::info(waiting ? "waiting for the medium" : "the medium is back");
      });
  active(bundle.digest(), chunks);
  auto outcome = copies ? copy_bundle(device, *choice.plan, survey->facts, bundle, *chunks, stop)
                        : run_update(device, *survey, bundle, *chunks, stop);
  active(bundle.digest(), nullptr);
  outcome.device_uuid = survey->identity.uuid;
  outcome.bytes_read = chunks->bytes_read();
  outcome.others = std::move(choice.others);
  return outcome;
}

}  // namespace agent
