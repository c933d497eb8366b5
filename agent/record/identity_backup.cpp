#include "record/identity_backup.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/fatrw.hpp"
#include "base/files.hpp"
#include "base/json.hpp"

namespace agent::record {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;
using base::Json;

constexpr std::size_t kMaxFileBytes = std::size_t{4} * 1024 * 1024;
constexpr std::size_t kMaxBackupBytes = std::size_t{32} * 1024 * 1024;
constexpr std::uint64_t kBackupVersion = 1;
constexpr const char* kFileName = "identity-backup.json";
constexpr const char* kConfig = "config.json";

/// Settings of the user or of the site on the boot partition. \source balenaos.md section 1
constexpr std::array kBootFiles{"EFI/BOOT/grub_extraenv",
                                "grub/grub_extraenv",
                                "extra_uEnv.txt",
                                "config.txt",
                                "cmdline.txt",
                                "configfs.json",
                                "hw_intfc.conf",
                                "splash/balena-logo.png"};
constexpr std::array kBootFolders{"system-connections", "system-proxy", "dispatcher.d"};
/// What the OS's hooks overwrite with the file that they ship.
constexpr std::array kOverwritten{"EFI/BOOT/grub_extraenv", "grub/grub_extraenv"};

Error backup_error(const std::string& what) {
  return {ErrorCode::kIdentityBackup, what};
}

std::string sha256(std::string_view text) {
  return oci::Digest::of(base::as_bytes(text)).text();
}

base::Result<Json> read_config(const fs::path& boot) {
  auto bytes = base::fatrw_read(boot / kConfig, kMaxFileBytes);
  if (!bytes) {
    return std::move(bytes).error();
  }
  auto json = Json::parse(base::as_text(*bytes), nullptr, false);
  if (!json.is_object()) {
    return Error(ErrorCode::kConfigJson, "config.json is no JSON object");
  }
  return json;
}

bool has_value(const Json& config, const std::string& key) {
  const auto found = config.find(key);
  return found != config.end() && !found->is_null() && !(found->is_string() && found->empty()) &&
         *found != "";
}

base::Status check_identity(const Json& config) {
  for (const auto* key : {"uuid", "deviceType", "applicationId"}) {
    if (!has_value(config, key)) {
      return backup_error(std::string("config.json has no ") + key +
                          ": this device has no identity that could be kept");
    }
  }
  if (!has_value(config, "deviceApiKey") && !has_value(config, "apiKey")) {
    return backup_error("config.json has neither deviceApiKey nor apiKey");
  }
  return base::ok();
}

void add_file(const fs::path& root, const std::string& name,
              std::map<std::string, std::string>& files) {
  if (const auto bytes = base::read_file(root / name, kMaxFileBytes)) {
    files.emplace(name, base::as_text(*bytes));
  }
}

/// Files that are there; one that cannot be read is not worth stopping for.
std::map<std::string, std::string> boot_settings(const BackupPlaces& places) {
  std::map<std::string, std::string> files;
  for (const auto& root : {places.boot, places.nonenc_boot}) {
    for (const auto* name : kBootFiles) {
      add_file(root, name, files);
    }
    for (const auto* folder : kBootFolders) {
      std::error_code failed;
      for (fs::directory_iterator it(root / folder, failed), end; !failed && it != end;
           it.increment(failed)) {
        add_file(root, std::string(folder) + "/" + it->path().filename().string(), files);
      }
    }
  }
  return files;
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

base::Status write_copy(const fs::path& place, const IdentityBackup& backup,
                        const oci::Digest& bundle) {
  if (const auto present = read_backup(place)) {
    if (present->config_json == backup.config_json && present->files == backup.files) {
      return base::ok();
    }
    const auto before = Json::parse(present->config_json, nullptr, false);
    const auto now = Json::parse(backup.config_json, nullptr, false);
    if (before.value("uuid", "") != now.value("uuid", "")) {
      return backup_error("the identity in " + (place / kFileName).string() +
                          " is that of another device; remove the file if this device is meant to "
                          "have a new one");
    }
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
  if (backup.config_json.empty()) {
    return backup_error("it has no config.json");
  }
  return backup;
}

}  // namespace

const std::vector<std::string>& identity_keys() {
  static const std::vector<std::string> keys{
      "uuid",          "deviceApiKey", "deviceApiKeys", "deviceId",          "registered_at",
      "applicationId", "userId",       "deviceType",    "initialDeviceName", "apiKey"};
  return keys;
}

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

base::Status back_up_identity(const BackupPlaces& places, const oci::Digest& bundle) {
  auto bytes = base::fatrw_read(places.boot / kConfig, kMaxFileBytes);
  if (!bytes) {
    return std::move(bytes).error().as(ErrorCode::kIdentityBackup);
  }
  auto config = read_config(places.boot);
  if (!config) {
    return std::move(config).error().as(ErrorCode::kIdentityBackup);
  }
  OU_CHECK(check_identity(*config));
  const IdentityBackup backup{.config_json = std::string(base::as_text(*bytes)),
                              .files = boot_settings(places)};
  OU_CHECK(write_copy(places.state, backup, bundle));
  return write_copy(places.data, backup, bundle);
}

base::Result<std::vector<std::string>> lost_identity(const BackupPlaces& places) {
  OU_TRY(const auto backup, read_any_backup(places));
  const auto before = Json::parse(backup.config_json, nullptr, false);
  const auto now = read_config(places.boot);
  std::vector<std::string> lost;
  for (const auto& key : identity_keys()) {
    // The supervisor exchanges a provisioning key for the device's own: not a loss.
    const bool exchanged = key == "apiKey" && now && has_value(*now, "deviceApiKey");
    if (before.contains(key) && !exchanged &&
        (!now || !now->contains(key) || (*now)[key] != before[key])) {
      lost.push_back(key);
    }
  }
  return lost;
}

base::Result<std::vector<std::string>> restore_identity(const BackupPlaces& places) {
  OU_TRY(auto lost, lost_identity(places));
  if (lost.empty()) {
    return lost;
  }
  OU_TRY(const auto backup, read_any_backup(places));
  std::string text = backup.config_json;
  if (auto now = read_config(places.boot)) {
    const auto before = Json::parse(backup.config_json, nullptr, false);
    for (const auto& key : lost) {
      (*now)[key] = before[key];
    }
    text = now->dump();
  }
  auto written = base::fatrw_write(places.boot / kConfig, base::as_bytes(text), 0600);
  if (!written) {
    return std::move(written).error().as(ErrorCode::kIdentityLost);
  }
  return lost;
}

base::Result<std::vector<std::string>> restore_boot_settings(const BackupPlaces& places) {
  OU_TRY(const auto backup, read_any_backup(places));
  std::vector<std::string> restored;
  for (const auto* name : kOverwritten) {
    const auto saved = backup.files.find(name);
    if (saved == backup.files.end()) {
      continue;
    }
    const auto file = places.boot / name;
    const auto present = base::fatrw_read(file, kMaxFileBytes);
    // A directory that the OS has removed (grub/ on UEFI systems) is not made again.
    std::error_code ignored;
    if (!fs::is_directory(file.parent_path(), ignored) ||
        (present && base::as_text(*present) == saved->second)) {
      continue;
    }
    if (auto written = base::fatrw_write(file, base::as_bytes(saved->second)); !written) {
      return std::move(written).error().as(ErrorCode::kConfigJson);
    }
    restored.emplace_back(name);
  }
  return restored;
}

}  // namespace agent::record
