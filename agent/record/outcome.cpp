#include "record/outcome.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/directory.hpp"
#include "base/files.hpp"
#include "base/json.hpp"

namespace agent::record {
namespace {

constexpr std::size_t kMaxOutcomeBytes = std::size_t{1024} * 1024;
constexpr int kMaxSameNames = 1000;
constexpr std::size_t kNameDigits = 12;
constexpr const char* kResultsDirectory = "offline-updater-results";

std::string utc_time(std::uint64_t seconds, const char* format) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::string text(64, '\0');
  text.resize(std::strftime(text.data(), text.size(), format, &parts));
  return text;
}

base::Json error_json(const base::Error& error) {
  return {{"code", static_cast<int>(error.code())},
          {"name", base::name_of(error.code())},
          {"message", error.message()}};
}

std::string headline(RunResult result, bool back_runs) {
  switch (result) {
    case RunResult::kUpdated:
      return "UPDATED. The device runs what the bundle brought. You can remove the medium.";
    case RunResult::kUpToDate:
      return "ALREADY UP TO DATE. Nothing had to be done. You can remove the medium.";
    case RunResult::kRefused:
      return "NOT INSTALLED. Nothing on the device was changed. You can remove the medium.";
    case RunResult::kFailed:
      return "FAILED. The device runs what it ran before. You can remove the medium.";
    case RunResult::kReverted:
      if (!back_runs) {
        return "WENT BACK, BUT NOT ALL RUNS YET. What the bundle brought did not work on this "
               "device, "
               "and what ran before has not been seen running again. Restart the device. If it "
               "does not work then, call whoever gave you this medium.";
      }
      return "WENT BACK. What the bundle brought did not work on this device; what ran before runs "
             "again. You can remove the medium.";
    case RunResult::kInterrupted:
      return "NOT FINISHED YET. The device goes on by itself. Leave the medium in, or come back "
             "later and plug it in again: a new file on it then says how it ended.";
    case RunResult::kStaged:
      return "COPIED. The device has the whole update and installs it by itself. You can remove "
             "the "
             "medium.";
  }
  return "";
}

base::Error outcome_error(base::Error error) {
  return std::move(error).as(base::ErrorCode::kOutcome);
}

/// Creates a file that must not exist yet, relative to a directory of an untrusted medium.
base::Status create_file(int directory, const std::string& name, const std::string& content) {
  const base::UniqueFd fd(::openat(directory, name.c_str(),
                                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd.valid()) {
    const int error_number = errno;
    auto error = base::Error::from_errno(error_number, "create " + name);
    return error_number == EEXIST ? std::move(error).as(base::ErrorCode::kAlreadyExists)
                                  : std::move(error);
  }
  OU_CHECK(base::write_all(fd.get(), base::as_bytes(content)));
  if (::fsync(fd.get()) != 0) {
    return base::Error::from_errno(errno, "sync " + name);
  }
  return base::ok();
}

std::string result_name(const RunOutcome& outcome) {
  const auto device = outcome.device_uuid.substr(0, kNameDigits);
  const std::string result(name_of(outcome.result));
  if (outcome.result == RunResult::kInterrupted) {
    const auto& digest = outcome.bundle_digest;  // "sha256:..."
    return device + "-" + digest.substr(digest.find(':') + 1, kNameDigits) + "-" + result;
  }
  return device + "-" + utc_time(outcome.finished_at, "%Y%m%dT%H%M%SZ") + "-" + result;
}

/// Writes both files under the first name that is free.
base::Status create_result_files(int directory, const std::string& name,
                                 const RunOutcome& outcome) {
  for (int attempt = 0;; ++attempt) {
    const auto numbered = attempt == 0 ? name : name + "-" + std::to_string(attempt);
    auto status = create_file(directory, numbered + ".json", to_json(outcome));
    if (status) {
      return create_file(directory, numbered + ".txt", to_text(outcome));
    }
    if (status.error().code() != base::ErrorCode::kAlreadyExists || attempt == kMaxSameNames) {
      return status;
    }
  }
}

base::Result<std::vector<std::string>> kept_outcomes(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".json") {
      names.push_back(it->path().filename().string());
    }
  }
  if (error) {
    return base::Error(base::ErrorCode::kOutcome,
                       "list " + directory.string() + ": " + error.message());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::string_view name_of(RunResult result) {
  switch (result) {
    case RunResult::kUpdated:
      return "updated";
    case RunResult::kUpToDate:
      return "up-to-date";
    case RunResult::kRefused:
      return "refused";
    case RunResult::kFailed:
      return "failed";
    case RunResult::kReverted:
      return "reverted";
    case RunResult::kInterrupted:
      return "interrupted";
    case RunResult::kStaged:
      return "staged";
  }
  return "unknown";
}

std::string to_json(const RunOutcome& outcome) {
  base::Json others = base::Json::array();
  for (const auto& other : outcome.others) {
    others.push_back({{"bundle", other.directory_name}, {"error", error_json(other.why)}});
  }
  const base::Json json{{"result", name_of(outcome.result)},
                        {"error", outcome.error ? error_json(*outcome.error) : base::Json()},
                        {"device", outcome.device_uuid},
                        {"bundle",
                         {{"name", outcome.bundle_name},
                          {"digest", outcome.bundle_digest},
                          {"directory", outcome.directory_name},
                          {"sequence", outcome.sequence}}},
                        {"from", outcome.from_commit},
                        {"to", outcome.to_commit},
                        {"from_os", outcome.from_os},
                        {"to_os", outcome.to_os},
                        {"started_at", utc_time(outcome.started_at, "%Y-%m-%dT%H:%M:%SZ")},
                        {"finished_at", utc_time(outcome.finished_at, "%Y-%m-%dT%H:%M:%SZ")},
                        {"bytes_read", outcome.bytes_read},
                        {"others", std::move(others)}};
  return json.dump(2, ' ', false, base::Json::error_handler_t::replace) + "\n";
}

std::string to_text(const RunOutcome& outcome) {
  const bool back_runs =
      !outcome.error || outcome.error->code() != base::ErrorCode::kRollbackFailed;
  std::string text = headline(outcome.result, back_runs) + "\n\n";
  const auto line = [&text](const std::string& label, const std::string& value) {
    if (!value.empty()) {
      text += label + value + "\n";
    }
  };
  line("Device:    ", outcome.device_uuid);
  line("Bundle:    ", outcome.bundle_name.empty()
                          ? outcome.directory_name
                          : outcome.directory_name + " (" + outcome.bundle_name + ", sequence " +
                                std::to_string(outcome.sequence) + ")");
  line("From:      ", outcome.from_commit);
  line("To:        ", outcome.to_commit);
  line("OS from:   ", outcome.from_os);
  line("OS to:     ", outcome.to_os);
  line("Time:      ", utc_time(outcome.finished_at, "%Y-%m-%d %H:%M:%S UTC (device clock)"));
  if (outcome.error) {
    const auto code = outcome.error->code();
    line("Reason:    ", outcome.error->message());
    line("Code:      ", std::to_string(static_cast<int>(code)) + " " +
                            std::string(base::name_of(code)) + " (see docs/errors.md)");
  }
  for (const auto& other : outcome.others) {
    line("Not taken: ", other.directory_name + ": " + other.why.message());
  }
  return text;
}

base::Status OutcomeStore::save(const RunOutcome& outcome) const {
  const auto directory = state_dir_ / "outcomes";
  OU_TRY(const auto names, kept_outcomes(directory));
  const auto last = names.empty() ? 0UL : std::strtoul(names.back().c_str(), nullptr, 10);
  std::string number = std::to_string(last + 1);
  number.insert(0, number.size() < 6 ? 6 - number.size() : 0, '0');
  const auto text = to_json(outcome);
  for (const auto& path : {directory / (number + ".json"), state_dir_ / "last-outcome.json"}) {
    if (auto status = base::write_file_durably(path, base::as_bytes(text)); !status) {
      return outcome_error(std::move(status).error());
    }
  }
  for (std::size_t i = 0; i + kKept <= names.size(); ++i) {
    std::error_code ignored;  // an old outcome too many does no harm
    std::filesystem::remove(directory / names[i], ignored);
  }
  return base::ok();
}

base::Result<std::optional<std::string>> OutcomeStore::last() const {
  const auto bytes = base::read_file(state_dir_ / "last-outcome.json", kMaxOutcomeBytes);
  if (!bytes && bytes.error().code() == base::ErrorCode::kNotFound) {
    return std::optional<std::string>();
  }
  if (!bytes) {
    return outcome_error(bytes.error());
  }
  return std::optional<std::string>(base::as_text(*bytes));
}

bool is_on_medium(const std::filesystem::path& medium_root, const RunOutcome& outcome) {
  if (outcome.result != RunResult::kInterrupted) {
    return false;
  }
  const auto root = base::UntrustedDirectory::open(medium_root);
  const auto results = root ? root->open_directory(kResultsDirectory)
                            : base::Result<base::UntrustedDirectory>(root.error());
  return results && results->open_file(result_name(outcome) + ".json");
}

base::Status write_to_medium(const std::filesystem::path& medium_root, const RunOutcome& outcome) {
  auto root = base::UntrustedDirectory::open(medium_root);
  if (!root) {
    return outcome_error(std::move(root).error());
  }
  if (::mkdirat(root->fd(), kResultsDirectory, 0755) != 0 && errno != EEXIST) {
    return outcome_error(base::Error::from_errno(errno, "create offline-updater-results"));
  }
  auto results = root->open_directory(kResultsDirectory);
  if (!results) {
    return outcome_error(std::move(results).error());
  }
  if (is_on_medium(medium_root, outcome)) {
    return base::ok();
  }
  if (auto status = create_result_files(results->fd(), result_name(outcome), outcome); !status) {
    return outcome_error(std::move(status).error());
  }
  if (::syncfs(root->fd()) != 0) {
    return outcome_error(base::Error::from_errno(errno, "sync the medium"));
  }
  return base::ok();
}

}  // namespace agent::record
