#include "commands.hpp"

#include <iostream>

#include "base/files.hpp"
#include "base/json.hpp"
#include "intake/verified_bundle.hpp"
#include "plan/install_plan.hpp"
#include "plan/room.hpp"
#include "staged_updates.hpp"
#include "status_file.hpp"
#include "update_session.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;

constexpr std::size_t kMaxStatusBytes = std::size_t{64} * 1024;

Json error_json(const Error& error) {
  return {{"code", static_cast<int>(error.code())},
          {"name", base::name_of(error.code())},
          {"message", error.message()}};
}

Json plan_json(const intake::VerifiedBundle& bundle, const plan::InstallPlan& plan) {
  auto images = Json::array();
  for (const auto& image : plan.images) {
    images.push_back({{"id", image.id.text()},
                      {"services", image.services},
                      {"present", image.present},
                      {"missing_layers", image.missing_layers},
                      {"transfer_bytes", image.transfer_bytes}});
  }
  return {{"bundle", bundle.directory_name()},
          {"name", bundle.manifest().name},
          {"sequence", bundle.manifest().sequence},
          {"up_to_date", plan.up_to_date},
          {"from", plan.from_commit},
          {"to", plan.to_commit},
          {"images", std::move(images)},
          {"medium_bytes", plan.medium_bytes},
          {"needed_bytes", plan.needed_bytes},
          {"needed_inodes", plan.needed_inodes}};
}

void print_plan(const intake::VerifiedBundle& bundle, const plan::InstallPlan& plan) {
  std::cout << "Would install " << bundle.directory_name() << " (" << bundle.manifest().name
            << ", sequence " << bundle.manifest().sequence << ")\n"
            << (plan.up_to_date ? "Already up to date: nothing to do.\n" : "") << "  from   "
            << plan.from_commit << "\n  to     " << plan.to_commit << "\n"
            << "  reads  " << plan::megabytes(plan.medium_bytes) << " from the medium\n"
            << "  needs  " << plan::megabytes(plan.needed_bytes) << " and " << plan.needed_inodes
            << " files at the peak\n";
  for (const auto& image : plan.images) {
    std::cout << "  image  " << image.id.hex().substr(0, 12)
              << (image.present ? "  is there already"
                                : "  " + std::to_string(image.missing_layers) +
                                      " layers to bring, " + plan::megabytes(image.transfer_bytes));
    for (const auto& service : image.services) {
      std::cout << "  " << service;
    }
    std::cout << "\n";
  }
}

void print_others(const std::vector<record::OtherBundle>& others) {
  for (const auto& other : others) {
    std::cout << "Not taken: " << other.directory_name << ": " << other.why.message() << "\n";
  }
}

Exit dry_run(Device& device, MediumContent content, bool json) {
  const auto survey = survey_device(device.config, device.engine, device.database, device.api,
                                    device.ledger, bring_os(content.bundles));
  if (!survey) {
    print_error(survey.error(), json);
    return Exit::kRefused;
  }
  const auto choice =
      choose_bundle(content.bundles, std::move(content.refused), survey->facts, device.ledger);
  if (json) {
    auto others = Json::array();
    for (const auto& other : choice.others) {
      others.push_back({{"bundle", other.directory_name}, {"error", error_json(other.why)}});
    }
    const Json out{
        {"plan", choice.chosen ? plan_json(content.bundles[*choice.chosen], *choice.plan) : Json()},
        {"others", std::move(others)}};
    std::cout << out.dump(2) << "\n";
  } else {
    if (choice.chosen) {
      print_plan(content.bundles[*choice.chosen], *choice.plan);
    }
    print_others(choice.others);
  }
  return choice.chosen ? Exit::kDone : Exit::kRefused;
}

base::Result<MediumContent> read_directory(const Config& config, const InstallOptions& options) {
  OU_TRY(const auto trust, intake::load_trust(config.trust_file));
  OU_TRY(const auto root, base::UntrustedDirectory::open(options.path));
  MediumContent content;
  open_bundles(root, trust, content);
  if (content.bundles.empty() && content.refused.empty()) {
    return Error(ErrorCode::kBundleNotFound,
                 options.path.string() + " is no bundle and holds none (a directory NAME.bundle)");
  }
  return content;
}

Json file_json(const std::filesystem::path& file, std::size_t limit) {
  const auto bytes = base::read_file(file, limit);
  auto json = bytes ? Json::parse(base::as_text(*bytes), nullptr, false) : Json();
  return json.is_discarded() ? Json() : json;
}

std::string text_of(const Json& json, const char* key) {
  return json.is_object() ? json.value(key, std::string()) : std::string();
}

/// The release that the supervisor was told to run; null when there is none or it cannot be read.
Json running_release(const Config& config, install::SupervisorDatabase& database) {
  const auto identity = read_identity(config.config_json());
  const auto apps = database.apps();
  if (identity && apps) {
    for (const auto& app : *apps) {
      if (app.app_id == identity->application_id) {
        return {{"release", app.commit}, {"fleet", app.uuid}};
      }
    }
  }
  return nullptr;
}

/// By hand, at once: the person is there, whatever the window says.
std::optional<record::RunOutcome> install_staged(Device& device, std::stop_token stop) {
  const auto trust = intake::load_trust(device.config.trust_file);
  return trust ? install_copy(device, *trust, {}, std::move(stop)) : std::nullopt;
}

/// The copy of a bundle on the device; null when there is none.
Json copy_json(const Config& config) {
  const auto area = staging_area(config);
  const auto copy = area.any();
  if (!copy) {
    return nullptr;
  }
  const bool complete = area.complete() == copy;
  Json json{{"directory", copy->filename().string()}, {"complete", complete}};
  if (const auto facts = complete ? read_copy_facts(*copy) : std::nullopt) {
    json["name"] = facts->name;
    json["sequence"] = facts->sequence;
  }
  if (complete) {
    json["window_opens_in_seconds"] = until_open(config.windows, clock_now()).count();
  }
  return json;
}

/// One line of copy_json().
std::string copy_text(const Json& copy) {
  if (!copy.is_object()) {
    return "none";
  }
  const auto directory = text_of(copy, "directory");
  if (!copy.value("complete", false)) {
    return directory + ", a part of it: the rest comes with the medium";
  }
  const auto seconds = copy.value("window_opens_in_seconds", std::int64_t{0});
  return directory + " (" + text_of(copy, "name") + "), " +
         (seconds == 0 ? "to be installed now"
                       : "to be installed when the window opens, in " +
                             std::to_string((seconds + 59) / 60) + " min");
}

}  // namespace

Exit exit_code(record::RunResult result) {
  switch (result) {
    case record::RunResult::kUpdated:
    case record::RunResult::kUpToDate:
    case record::RunResult::kStaged:
      return Exit::kDone;
    case record::RunResult::kRefused:
      return Exit::kRefused;
    case record::RunResult::kFailed:
      return Exit::kFailed;
    case record::RunResult::kReverted:
      return Exit::kReverted;
    case record::RunResult::kInterrupted:
      return Exit::kInterrupted;
  }
  return Exit::kFailed;
}

void print_error(const base::Error& error, bool json) {
  if (json) {
    std::cout << Json{{"error", error_json(error)}}.dump(2) << "\n";
  } else {
    std::cerr << "error " << static_cast<int>(error.code()) << " (" << base::name_of(error.code())
              << "): " << error.message() << "\n";
  }
}

Exit install_command(Device& device, const record::OutcomeStore& outcomes,
                     const InstallOptions& options, std::stop_token stop) {
  auto content = read_directory(device.config, options);
  if (!content) {
    print_error(content.error(), options.json);
    return Exit::kRefused;
  }
  if (options.dry_run) {
    return dry_run(device, *std::move(content), options.json);
  }
  auto entry = device.journal.load();
  if (!entry) {
    print_error(entry.error(), options.json);
    return Exit::kFailed;
  }
  if (*entry && !needs_medium(device, **entry)) {
    const auto outcome = finish_update(device, **std::move(entry), stop);
    std::cerr << "An update was under way and came first: " << record::name_of(outcome.result)
              << "\n";
    if (outcome.result == record::RunResult::kInterrupted) {
      return Exit::kInterrupted;
    }
    forget_copy(device, outcome);
  }
  for (const auto& bundle : content->bundles) {
    if (options.again) {
      if (const auto forgotten = device.ledger.forget(bundle.digest()); !forgotten) {
        print_error(forgotten.error(), options.json);
        return Exit::kFailed;
      }
    }
  }
  auto outcome = update_from(
      device, *std::move(content), {.copy_first = options.stage}, [](const auto&, const auto&) {},
      stop);
  if (outcome && outcome->result == record::RunResult::kStaged) {
    std::cerr << record::to_text(*outcome);
    outcome = install_staged(device, stop);
  }
  if (!outcome) {
    return Exit::kRefused;  // not reached: read_directory() found a bundle
  }
  if (const auto saved = outcomes.save(*outcome); !saved) {
    print_error(saved.error(), false);
  }
  std::cout << (options.json ? record::to_json(*outcome) : record::to_text(*outcome));
  return exit_code(outcome->result);
}

Exit status_command(const Config& config, install::SupervisorDatabase& database, bool json) {
  constexpr std::size_t kMaxJournal = std::size_t{16} * 1024 * 1024;
  const auto journal = file_json(config.state_dir / "journal.json", kMaxJournal);
  const auto last = file_json(config.state_dir / "last-outcome.json", kMaxJournal);
  const auto doing = file_json(StatusFile::path_in(config.runtime_dir), kMaxStatusBytes);
  const auto running = running_release(config, database);
  if (json) {
    auto open = Json();
    if (journal.is_object()) {
      open = {{"phase", text_of(journal, "phase")},
              {"bundle", text_of(journal, "bundle")},
              {"name", text_of(journal, "bundle_name")},
              {"from", text_of(journal, "from_commit")},
              {"to", text_of(journal, "to_commit")}};
    }
    const Json out{{"journal", open},
                   {"staged", copy_json(config)},
                   {"last_outcome", last},
                   {"doing", doing},
                   {"running", running}};
    std::cout << out.dump(2) << "\n";
    return Exit::kDone;
  }
  std::cout << "Running release: "
            << (running.is_object() ? text_of(running, "release") : "not known") << "\n"
            << "Update under way: "
            << (journal.is_object() ? text_of(journal, "phase") + " (" + text_of(doing, "doing") +
                                          "), to " + text_of(journal, "to_commit")
                                    : "none")
            << "\n"
            << "Copy on the device: " << copy_text(copy_json(config)) << "\n"
            << "Last result: "
            << (last.is_object() ? text_of(last, "result") + " at " + text_of(last, "finished_at")
                                 : "none")
            << "\n";
  if (last.is_object() && last.contains("error") && last["error"].is_object()) {
    std::cout << "  " << text_of(last["error"], "message") << "\n";
  }
  return Exit::kDone;
}

}  // namespace agent
