#include "outcome_reporter.hpp"

#include "base/json.hpp"
#include "base/log.hpp"

namespace agent {

using record::RunOutcome;
using record::RunResult;

void OutcomeReporter::report(RunOutcome outcome, const std::vector<media::Volume>& volumes) {
  if (outcome.device_uuid.empty()) {
    if (const auto identity = read_identity(device_.config.config_json())) {
      outcome.device_uuid = identity->uuid;
    }
  }
  base::log::info("result: " + std::string(record::name_of(outcome.result)) +
                  (outcome.error ? ": " + outcome.error->message() : ""));
  const bool repeated = is_repeated(outcome);
  if (const auto saved = outcomes_.save(outcome); !saved) {
    base::log::error("the outcome was not kept: " + saved.error().message());
  }
  device_.progress.phase(record::name_of(outcome.result), 0);
  const bool final = outcome.result != RunResult::kInterrupted && !outcome.bundle_digest.empty();
  if (final && volumes.empty() && outcome.result != RunResult::kUpToDate) {
    untold_ = outcome;
  }
  if (outcome.result != RunResult::kInterrupted && device_.config.write_results && !repeated) {
    write_result(outcome, volumes);
  }
  tell_unfinished(outcome, volumes);
}

void OutcomeReporter::answer(RunOutcome outcome, const std::vector<media::Volume>& volumes) {
  if (!is_repeated(outcome)) {
    report(std::move(outcome), volumes);
    return;
  }
  device_.progress.phase(record::name_of(outcome.result), 0);
  if (device_.config.write_results) {
    write_result(outcome, volumes);
  }
}

void OutcomeReporter::tell_unfinished(const RunOutcome& outcome,
                                      const std::vector<media::Volume>& volumes) {
  const bool stopped = outcome.error && outcome.error->code() == base::ErrorCode::kCancelled;
  if (outcome.result != RunResult::kInterrupted || stopped || outcome.bundle_digest.empty() ||
      !device_.config.write_results) {
    return;
  }
  std::vector<media::Volume> untold;
  for (const auto& volume : volumes) {
    const auto mount = mounter_.mount(volume, media::Access::kReadOnly);
    if (mount && !record::is_on_medium((*mount)->path(), outcome)) {
      untold.push_back(volume);
    }
  }
  write_result(outcome, untold);
}

bool OutcomeReporter::tell_late(const std::optional<RunOutcome>& outcome,
                                const std::vector<media::Volume>& volumes) {
  const bool same = untold_ && outcome && outcome->result != RunResult::kInterrupted &&
                    (outcome->directory_name == untold_->directory_name ||
                     outcome->bundle_digest == untold_->bundle_digest);
  if (same && device_.config.write_results) {
    write_result(*untold_, volumes);
  }
  if (same) {
    untold_.reset();
  }
  return same && outcome->result != RunResult::kStaged;  // that the medium can go is always said
}

bool OutcomeReporter::is_repeated(const RunOutcome& outcome) const {
  const auto last = outcomes_.last();
  if (!last || !*last) {
    return false;
  }
  const auto told = [](const std::string& text) {
    auto json = base::Json::parse(text, nullptr, false);
    return json.is_object() ? json.value("result", "") + json.value("error", base::Json()).dump() +
                                  json.value("bundle", base::Json()).dump()
                            : "";
  };
  return told(**last) == told(record::to_json(outcome));
}

void OutcomeReporter::write_result(const RunOutcome& outcome,
                                   const std::vector<media::Volume>& volumes) {
  for (const auto& volume : volumes) {
    auto mount = mounter_.mount(volume, media::Access::kReadWrite);
    auto written = mount ? record::write_to_medium((*mount)->path(), outcome)
                         : base::Status(std::move(mount).error());
    if (!written) {
      base::log::warning("the result was not written to the medium: " + written.error().message());
    } else {
      base::log::info("the result is on the medium: " +
                      std::string(record::name_of(outcome.result)));
    }
  }
}

}  // namespace agent
