#include "record/identity_backup.hpp"

#include <utility>

#include "base/fatrw.hpp"
#include "base/files.hpp"
#include "base/json.hpp"
#include "record/boot_settings.hpp"
#include "record/identity.hpp"

namespace agent::record {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;
using base::Json;

constexpr std::size_t kMaxBackupBytes = std::size_t{8} * 1024 * 1024;
constexpr std::uint64_t kBackupVersion = 1;
constexpr const char* kFileName = "identity-backup.json";
constexpr const char* kConfig = "config.json";

constexpr std::string_view kNonenc = "nonenc/";

Error backup_error(const std::string& what) {
  return {ErrorCode::kIdentityBackup, what};
}

std::string sha256(std::string_view text) {
  return oci::Digest::of(base::as_bytes(text)).text();
}

base::Result<ConfigDocument> read_config(const fs::path& boot) {
  OU_TRY(const auto bytes, base::fatrw_peek(boot / kConfig, kMaxConfigJsonBytes));
  return ConfigDocument::parse(base::as_text(bytes));
}

/// The same, with a complete identity in it.
base::Result<ConfigDocument> read_complete_config(const fs::path& boot) {
  OU_TRY(auto config, read_config(boot));
  OU_CHECK(check_identity(config));
  return config;
}

std::map<std::string, std::string> boot_settings(const BackupPlaces& places) {
  auto files = read_boot_settings(places.boot);
  if (places.nonenc_boot != places.boot) {
    for (auto& [path, content] : read_boot_settings(places.nonenc_boot)) {
      files.emplace(std::string(kNonenc) + path, content);
    }
  }
  return files;
}

/// Where a file of the backup belongs, and its path on that partition.
std::pair<fs::path, std::string> target_of(const BackupPlaces& places, const std::string& name) {
  const bool nonenc = name.starts_with(kNonenc);
  auto path = nonenc ? name.substr(kNonenc.size()) : name;
  return {(nonenc ? places.nonenc_boot : places.boot) / path, std::move(path)};
}

/// One file holds the copy, so that it is there as a whole or not at all.
std::string to_text(const IdentityBackup& backup, const oci::Digest& bundle) {
  auto files = Json::object();
  const auto entry = [](const std::string& content) {
    return Json{{"sha256", sha256(content)}, {"base64", base::to_base64(base::as_bytes(content))}};
  };
  files[kConfig] = entry(backup.config_json);
  for (const auto& [name, content] : backup.files) {
    files[name] = entry(content);
  }
  return base::to_canonical(
      {{"version", kBackupVersion}, {"bundle", bundle.text()}, {"files", std::move(files)}});
}

/// A good copy is not given up for one that knows less.
base::Status check_same_device(const fs::path& place, const ConfigDocument& now) {
  const auto present = read_backup(place);
  if (!present) {
    return base::ok();  // a damaged copy is replaced
  }
  OU_TRY(const auto before, ConfigDocument::parse(present->config_json));
  const auto name = (place / kFileName).string();
  if (text_of(before, "uuid") != text_of(now, "uuid")) {
    return backup_error("the identity in " + name +
                        " is that of another device; `offline-updater-agent identity restore` puts "
                        "it back; remove the file if this device is meant to have a new one");
  }
  if (!text_of(before, "deviceApiKey").empty() && text_of(now, "deviceApiKey").empty()) {
    return backup_error("config.json has lost deviceApiKey, which " + name +
                        " has; `offline-updater-agent identity restore` puts it back");
  }
  return base::ok();
}

base::Status write_copy(const fs::path& place, const IdentityBackup& backup,
                        const oci::Digest& bundle) {
  if (const auto present = read_backup(place);
      present && present->config_json == backup.config_json && present->files == backup.files) {
    return base::ok();
  }
  std::error_code failed;
  fs::create_directories(place, failed);
  if (failed) {
    return backup_error("create " + place.string() + ": " + failed.message());
  }
  auto written =
      base::write_file_durably(place / kFileName, base::as_bytes(to_text(backup, bundle)), 0600);
  if (!written) {
    return std::move(written).error().as(ErrorCode::kIdentityBackup);
  }
  return base::ok();
}

base::Result<IdentityBackup> read_any_backup(const BackupPlaces& places) {
  auto backup = read_backup(places.state);
  return backup ? backup : read_backup(places.data);
}

base::Result<std::string> read_entry(const std::string& name, const Json& value) {
  base::JsonObject entry(value, name);
  const auto hash = entry.text("sha256");
  auto content = base::from_base64(entry.text("base64", kMaxBackupBytes));
  OU_CHECK(entry.finish());
  if (!content || sha256(base::as_text(*content)) != hash) {
    return backup_error(name + " is damaged");
  }
  return std::string(base::as_text(*content));
}

base::Result<IdentityBackup> parse_backup(std::string_view text) {
  base::JsonLimits limits{.max_bytes = kMaxBackupBytes};
  limits.max_string_bytes = kMaxBackupBytes;
  OU_TRY(const auto json, base::parse_json(text, limits));
  base::JsonObject object(json, "backup");
  if (object.number("version") != kBackupVersion) {
    object.fail("version", "is not one that this agent wrote");
  }
  static_cast<void>(object.text("bundle"));
  const auto& files = object.object("files");
  OU_CHECK(object.finish());
  IdentityBackup backup;
  for (const auto& [name, value] : files.items()) {
    OU_TRY(auto content, read_entry(name, value));
    (name == kConfig ? backup.config_json : backup.files[name]) = std::move(content);
  }
  if (auto config = ConfigDocument::parse(backup.config_json); !config) {
    return std::move(config).error();
  }
  return backup;
}

/// Whether the file is to become what was saved.
base::Result<bool> is_to_be_put_back(const fs::path& file, PutBack rule, const std::string& saved) {
  std::error_code ignored;
  if (rule == PutBack::kNever || !fs::is_directory(file.parent_path(), ignored)) {
    return false;
  }
  const auto present = base::fatrw_peek(file, kMaxBackupBytes);
  if (!present && present.error().code() != ErrorCode::kNotFound) {
    return Error(present.error()).as(ErrorCode::kConfigJson);
  }
  if (!present || present->empty()) {
    return !present || !saved.empty();
  }
  return rule == PutBack::kWhenDifferent && base::as_text(*present) != saved;
}

using KeysOf = std::vector<std::string> (*)(const ConfigDocument&, const ConfigDocument&);

base::Result<std::vector<std::string>> restore(const BackupPlaces& places,
                                               const IdentityBackup& backup, KeysOf keys_of) {
  OU_TRY(const auto before, ConfigDocument::parse(backup.config_json));
  auto now = read_config(places.boot);
  const bool whole = !now;
  auto restored = whole ? std::vector<std::string>{kConfig}
                        : put_back_identity(before, *now, keys_of(before, *now));
  if (restored.empty()) {
    return restored;
  }
  const auto& text = whole ? backup.config_json : now->text();
  const auto file = places.boot / kConfig;
  auto written = base::fatrw_write(file, base::as_bytes(text), base::mode_of_file(file, 0600));
  if (!written) {
    return std::move(written).error().as(ErrorCode::kIdentityLost);
  }
  return restored;
}

}  // namespace

base::Result<IdentityBackup> read_backup(const fs::path& place) {
  const auto bytes = base::read_file(place / kFileName, kMaxBackupBytes);
  auto backup = bytes ? parse_backup(base::as_text(*bytes)) : bytes.error();
  if (!backup) {
    return std::move(backup)
        .error()
        .within("read " + (place / kFileName).string())
        .as(ErrorCode::kIdentityBackup);
  }
  return backup;
}

base::Result<IdentityBackup> read_present(const BackupPlaces& places) {
  auto config = read_complete_config(places.boot);
  if (!config) {
    return std::move(config).error().as(ErrorCode::kConfigJson);
  }
  return IdentityBackup{.config_json = config->text(), .files = boot_settings(places)};
}

base::Status back_up_identity(const BackupPlaces& places, const oci::Digest& bundle) {
  auto config = read_complete_config(places.boot);
  if (!config) {
    return std::move(config).error().as(ErrorCode::kIdentityBackup);
  }
  OU_CHECK(check_same_device(places.state, *config));
  OU_CHECK(check_same_device(places.data, *config));
  const IdentityBackup present{.config_json = config->text(), .files = boot_settings(places)};
  OU_CHECK(write_copy(places.state, present, bundle));
  return write_copy(places.data, present, bundle);
}

base::Status forget_backups(const BackupPlaces& places) {
  for (const auto& place : {places.state, places.data}) {
    if (auto removed = base::remove_file_durably(place / kFileName); !removed) {
      return std::move(removed).error().as(ErrorCode::kIdentityBackup);
    }
  }
  return base::ok();
}

base::Result<std::vector<std::string>> lost_identity(const BackupPlaces& places) {
  OU_TRY(const auto backup, read_any_backup(places));
  OU_TRY(const auto before, ConfigDocument::parse(backup.config_json));
  OU_TRY(const auto nothing, ConfigDocument::parse("{}"));
  const auto now = read_config(places.boot);
  return lost_identity(before, now ? *now : nothing);
}

base::Result<std::vector<std::string>> restore_lost_identity(const BackupPlaces& places) {
  OU_TRY(const auto backup, read_any_backup(places));
  return restore(places, backup, lost_identity);
}

base::Result<std::vector<std::string>> restore_identity(const BackupPlaces& places) {
  OU_TRY(const auto backup, read_any_backup(places));
  return restore_identity_from(places, backup);
}

base::Result<std::vector<std::string>> restore_identity_from(const BackupPlaces& places,
                                                             const IdentityBackup& backup) {
  return restore(places, backup, changed_identity);
}

base::Result<std::vector<std::string>> restore_boot_settings(const BackupPlaces& places) {
  OU_TRY(const auto backup, read_any_backup(places));
  std::vector<std::string> restored;
  for (const auto& [name, saved] : backup.files) {
    const auto [file, path] = target_of(places, name);
    OU_TRY(const bool wanted, is_to_be_put_back(file, put_back_rule(path), saved));
    if (!wanted) {
      continue;
    }
    const unsigned mode = path.starts_with("system-") ? 0600U : 0644U;
    auto written = base::fatrw_write(file, base::as_bytes(saved), base::mode_of_file(file, mode));
    if (!written) {
      return std::move(written).error().as(ErrorCode::kConfigJson);
    }
    restored.push_back(name);
  }
  return restored;
}

}  // namespace agent::record
