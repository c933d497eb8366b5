#include "device_survey.hpp"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/fatrw.hpp"
#include "base/files.hpp"
#include "base/json.hpp"
#include "base/lines.hpp"
#include "base/log.hpp"
#include "install/supervisor_step.hpp"
#include "os_survey.hpp"
#include "record/config_document.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxConnectionBytes = std::size_t{256} * 1024;
constexpr std::size_t kMaxOsReleaseBytes = std::size_t{64} * 1024;

/// Numbers in config.json may be strings (balenaos.md section 9).
std::optional<std::uint64_t> number_or_text(const base::Json& value) {
  if (value.is_number_unsigned()) {
    return value.get<std::uint64_t>();
  }
  if (!value.is_string()) {
    return std::nullopt;
  }
  const auto& text = value.get_ref<const std::string&>();
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number)
                                                                  : std::nullopt;
}

base::Status list_images(install::Engine& engine, plan::DeviceFacts& facts) {
  OU_TRY(const auto images, engine.images());
  for (const auto& image : images) {
    if (image.damaged) {
      continue;  // it has to be pulled again
    }
    facts.images.insert(image.id);
    std::optional<oci::Digest> parent;
    for (const auto& diff_id : image.diff_ids) {
      parent = plan::chain_id(parent ? &*parent : nullptr, diff_id);
      facts.layers.insert(*parent);
    }
  }
  return base::ok();
}

/// config.json and the connections as they are, to tell what a bundle would change.
void read_settings(const Config& config, plan::DeviceFacts& facts) {
  if (const auto bytes = base::fatrw_peek(config.config_json(), record::kMaxConfigJsonBytes)) {
    facts.config_json = base::as_text(*bytes);
  }
  const auto directory = config.config_json().parent_path() / "system-connections";
  std::error_code failed;  // no directory: no connections
  for (std::filesystem::directory_iterator it(directory, failed), end; !failed && it != end;
       it.increment(failed)) {
    if (const auto bytes = base::fatrw_peek(it->path(), kMaxConnectionBytes)) {
      facts.connections.emplace(it->path().filename().string(), oci::Digest::of(*bytes));
    }
  }
}

/// The version that the supervisor names, or else the one that the OS was told to start.
std::string supervisor_version(const Config& config, install::SupervisorApi& api) {
  if (auto version = api.version()) {
    return *std::move(version);
  }
  const auto conf = install::read_supervisor_conf(config.host_root);
  return conf ? install::supervisor_version_in(*conf) : "";
}

}  // namespace

base::Result<base::Room> free_room(const std::filesystem::path& directory) {
  struct statvfs room {};
  if (::statvfs(directory.c_str(), &room) != 0) {
    return Error::from_errno(errno, "measure free space of " + directory.string())
        .as(ErrorCode::kDeviceFacts);
  }
  return base::Room{.bytes = std::uint64_t{room.f_bavail} * room.f_frsize,
                    .inodes = room.f_files == 0 ? kUnlimitedInodes : room.f_favail};
}

base::Result<DeviceIdentity> read_identity(const std::filesystem::path& config_json) {
  const auto bytes = base::fatrw_peek(config_json, record::kMaxConfigJsonBytes);
  if (!bytes) {
    return Error(bytes.error()).as(ErrorCode::kDeviceFacts);
  }
  const auto json =
      base::parse_json(base::as_text(*bytes), {.max_bytes = record::kMaxConfigJsonBytes});
  if (!json) {
    return Error(json.error()).within("read " + config_json.string()).as(ErrorCode::kDeviceFacts);
  }
  base::JsonObject object(*json, "config.json");
  DeviceIdentity identity{.uuid = object.text("uuid"),
                          .device_type = object.text("deviceType"),
                          .api_endpoint = object.optional_text("apiEndpoint").value_or("")};
  const auto application = number_or_text(object.value("applicationId"));
  if (!application) {
    object.fail("applicationId", "is not a number");
  }
  identity.application_id = application.value_or(0);
  if (auto status = object.finish_open(); !status) {
    return std::move(status).error().as(ErrorCode::kDeviceFacts);
  }
  return identity;
}

std::string parse_os_version(std::string_view os_release) {
  for (const std::string_view key : {"META_BALENA_VERSION=", "VERSION_ID=", "VERSION="}) {
    for (std::string_view rest = os_release; !rest.empty();) {
      auto line = base::take_line(rest);
      if (!line.starts_with(key)) {
        continue;
      }
      line.remove_prefix(key.size());
      if (line.size() >= 2 && line.front() == '"' && line.back() == '"') {
        line = line.substr(1, line.size() - 2);
      }
      return std::string(line);
    }
  }
  return "";
}

base::Result<Survey> survey_device(const Config& config, install::Engine& engine,
                                   install::SupervisorDatabase& database,
                                   install::SupervisorApi& api, const record::Ledger& ledger,
                                   bool with_os) {
  Survey survey;
  OU_TRY(survey.identity, read_identity(config.config_json()));
  auto& facts = survey.facts;
  facts.device_uuid = survey.identity.uuid;
  facts.device_type = survey.identity.device_type;
  if (const auto os_release = base::read_file(config.os_release(), kMaxOsReleaseBytes)) {
    facts.os_version = parse_os_version(base::as_text(*os_release));
  }
  // Versions that are not known matter only to a bundle that asks for one, and that is then
  // refused.
  facts.supervisor_version = supervisor_version(config, api);
  read_settings(config, facts);
  const auto state = survey_os_state(config.host_root);
  if (state) {
    facts.os_state = *state;
  } else {
    base::log::warning("whether the host OS is settled is not known: " + state.error().message());
  }
  if (with_os) {
    if (auto os =
            state ? survey_os(config.host_root) : base::Result<plan::OsFacts>(state.error())) {
      facts.os = *std::move(os);
    } else {
      facts.os_unknown = os.error().message();
    }
  }

  OU_CHECK(database.check_schema());
  OU_TRY(const auto apps, database.apps());
  const auto fleet = std::find_if(apps.begin(), apps.end(), [&](const auto& app) {
    return app.app_id == survey.identity.application_id;
  });
  if (fleet == apps.end()) {
    return Error(ErrorCode::kSupervisorState,
                 "the supervisor knows no release of this device's fleet (application " +
                     std::to_string(survey.identity.application_id) +
                     "): the device has to have run one before it can be updated offline");
  }
  facts.fleet_uuid = fleet->uuid;
  facts.running_commit = fleet->commit;
  if (config.own_app_id == std::to_string(fleet->app_id)) {
    facts.own_service = config.own_service;
  }
  facts.highest_sequence = ledger.highest_sequence(fleet->uuid);

  OU_TRY(const auto engine_facts, engine.facts());
  facts.architecture = engine_facts.architecture;
  facts.engine_spools_pulls = engine_facts.spools_pulls;
  OU_CHECK(list_images(engine, facts));
  OU_TRY(const auto room,
         free_room(config.engine_root.value_or(
             config.host_root / std::filesystem::path(engine_facts.data_root).relative_path())));
  facts.free_bytes = room.bytes;
  facts.free_inodes = room.inodes;
  return survey;
}

}  // namespace agent
