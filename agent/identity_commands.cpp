#include "identity_commands.hpp"

#include <ctime>
#include <iostream>

#include "base/fatrw.hpp"
#include "base/files.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "base/rooted_files.hpp"
#include "bundle/key_limits.hpp"
#include "bundle/sealed_identity.hpp"
#include "device_lock.hpp"
#include "record/identity.hpp"
#include "record/identity_backup.hpp"
#include "record/journal.hpp"
#include "update_steps.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;
using record::ConfigDocument;
using Names = std::vector<std::string>;

constexpr std::size_t kMaxMachineIdBytes = 64;

Exit fail(const Error& error, bool json) {
  print_error(error, json);
  return Exit::kFailed;
}

std::string shown(const ConfigDocument& config, const std::string& key) {
  const auto text = record::text_of(config, key);
  return record::is_secret_key(key) && !text.empty() ? "(set)" : base::printable(text);
}

/// "good", "none", "of another state" with the names that differ, or why it cannot be used.
std::string state_of_copy(const std::filesystem::path& place, const Result<ConfigDocument>& now) {
  const auto backup = record::read_backup(place);
  if (!backup) {
    return backup.error().message();
  }
  const auto before = ConfigDocument::parse(backup->config_json);
  if (!now || !before) {
    return "good";
  }
  std::string text;
  for (const auto& key : record::changed_identity(*before, *now)) {
    text += (text.empty() ? "good; config.json has not what it has of: " : ", ") + key;
  }
  return text.empty() ? "good" : text;
}

Result<ConfigDocument> read_config(const std::filesystem::path& file) {
  OU_TRY(const auto bytes, base::fatrw_peek(file, record::kMaxConfigJsonBytes));
  return ConfigDocument::parse(base::as_text(bytes)).within(file.string());
}

std::string machine_id(const Config& config) {
  for (const auto* path : {"/mnt/state/machine-id", "/etc/machine-id"}) {
    if (const auto bytes = base::read_file_in_root(config.host_root, path, kMaxMachineIdBytes)) {
      const auto text = base::as_text(*bytes);
      return base::printable(text.substr(0, text.find('\n')));
    }
  }
  return "";
}

Result<std::string> export_identity(const Config& config, const IdentityOptions& options) {
  OU_TRY(const auto key_file, base::read_file(options.public_key, bundle::kMaxKeyFileBytes));
  OU_TRY(const auto key,
         bundle::parse_box_public_key(base::as_text(key_file)).within(options.public_key.string()));
  OU_TRY(auto present, record::read_present(backup_places(config)));
  bundle::IdentityExport identity{.created_at = static_cast<std::uint64_t>(std::time(nullptr)),
                                  .machine_id = machine_id(config),
                                  .files = std::move(present.files)};
  identity.files.insert_or_assign("config.json", std::move(present.config_json));
  OU_TRY(const auto sealed, bundle::seal_identity(identity, key));
  OU_CHECK(base::write_new_file(options.output, sealed));
  return key.id();
}

/// The device whose identity may be replaced without being asked: this one, or the backup's.
Result<std::string> known_uuid(const Config& config) {
  if (const auto now = read_config(config.config_json())) {
    if (auto uuid = record::text_of(*now, "uuid"); !uuid.empty()) {
      return uuid;
    }
  }
  const auto places = backup_places(config);
  for (const auto& place : {places.state, places.data}) {
    if (const auto backup = record::read_backup(place)) {
      OU_TRY(const auto document, ConfigDocument::parse(backup->config_json));
      return record::text_of(document, "uuid");
    }
  }
  return Error(ErrorCode::kIdentityBackup,
               "this device knows no uuid of its own; pass --new-device if it is to become the "
               "device of that file");
}

Result<record::IdentityBackup> given_identity(const Config& config,
                                              const IdentityOptions& options) {
  OU_TRY(const auto bytes, base::read_file(options.config_json, record::kMaxConfigJsonBytes));
  OU_TRY(const auto given, ConfigDocument::parse(base::as_text(bytes)));
  OU_CHECK(record::check_identity(given));
  if (!options.new_device) {
    OU_TRY(const auto uuid, known_uuid(config));
    if (record::text_of(given, "uuid") != uuid) {
      return Error(ErrorCode::kUsage,
                   options.config_json.string() + " is of the device " +
                       base::printable(record::text_of(given, "uuid")) + ", and this is " +
                       base::printable(uuid) +
                       "; pass --new-device if this device is to become that one: two devices "
                       "with one identity must never run at the same time");
    }
  }
  return record::IdentityBackup{.config_json = given.text()};
}

/// \pre the supervisor is stopped
Result<Names> restore(const Config& config, const IdentityOptions& options) {
  const auto places = backup_places(config);
  if (!options.config_json.empty()) {
    OU_TRY(const auto given, given_identity(config, options));
    OU_TRY(auto changed, record::restore_identity_from(places, given));
    if (options.new_device) {
      OU_CHECK(record::forget_backups(places));
    }
    return changed;
  }
  if (!options.from_backup.empty()) {
    OU_TRY(const auto backup,
           record::read_backup(options.from_backup == "state" ? places.state : places.data));
    return record::restore_identity_from(places, backup);
  }
  return record::restore_identity(places);
}

Result<Names> restore_between_updates(const Config& config, const IdentityOptions& options,
                                      const WhileSupervisorStopped& while_stopped) {
  OU_TRY(const auto lock, try_lock_update(config.state_dir));
  OU_TRY(const auto open_update, record::Journal(config.state_dir).load());
  if (open_update) {
    return Error(ErrorCode::kUpdateInProgress,
                 "an update has begun and not come to its end: plug its medium in again, or wait "
                 "until `offline-updater-agent status` says that it has ended");
  }
  Names changed;
  OU_CHECK(while_stopped([&]() -> base::Status {
    OU_TRY(changed, restore(config, options));
    return base::ok();
  }));
  return changed;
}

}  // namespace

Exit identity_show_command(const Config& config, bool json) {
  const auto now = read_config(config.config_json());
  const auto checked = now ? record::check_identity(*now) : base::Status(now.error());
  const auto places = backup_places(config);
  const auto state = state_of_copy(places.state, now);
  const auto data = state_of_copy(places.data, now);
  auto identity = Json::object();
  if (now) {
    for (const auto& key : record::identity_keys()) {
      if (const auto text = shown(*now, key); !text.empty()) {
        identity[key] = text;
      }
    }
  }
  const std::string problem = checked ? "" : checked.error().message();
  if (json) {
    const Json out{{"identity", identity},
                   {"complete", checked.has_value()},
                   {"problem", problem},
                   {"machine_id", machine_id(config)},
                   {"backups", {{"state", state}, {"data", data}}}};
    std::cout << out.dump(2) << "\n";
  } else {
    for (const auto& [key, text] : identity.items()) {
      std::cout << key << ": " << text.get<std::string>() << "\n";
    }
    std::cout << "machine-id: " << machine_id(config) << "\n"
              << "Complete: " << (checked ? "yes" : "no: " + problem) << "\n"
              << "Backup on the state partition: " << state << "\n"
              << "Backup on the data partition: " << data << "\n";
  }
  return checked ? Exit::kDone : Exit::kFailed;
}

Exit identity_export_command(const Config& config, const IdentityOptions& options) {
  const auto key = export_identity(config, options);
  if (!key) {
    return fail(key.error(), options.json);
  }
  if (options.json) {
    std::cout << Json{{"output", options.output.string()}, {"key", *key}}.dump(2) << "\n";
  } else {
    std::cout << options.output.string() << ": sealed for key " << *key
              << "; `bundle-tool identity open` reads it\n";
  }
  return Exit::kDone;
}

Exit identity_restore_command(const Config& config, const IdentityOptions& options,
                              const WhileSupervisorStopped& while_stopped) {
  const auto restored = restore_between_updates(config, options, while_stopped);
  if (!restored) {
    return fail(restored.error(), options.json);
  }
  const Names& changed = *restored;
  if (options.json) {
    std::cout << Json{{"changed", changed}}.dump(2) << "\n";
    return Exit::kDone;
  }
  std::cout << (changed.empty() ? "Nothing had to be changed.\n" : "Changed in config.json:\n");
  for (const auto& name : changed) {
    std::cout << "  " << name << "\n";
  }
  if (!changed.empty()) {
    std::cout << "Restart the device: services read these values when they start.\n";
  }
  return Exit::kDone;
}

}  // namespace agent
