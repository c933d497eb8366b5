#include "record/journal.hpp"

#include <array>

#include "base/files.hpp"
#include "base/json.hpp"

namespace agent::record {
namespace {

constexpr std::size_t kMaxJournalBytes = std::size_t{16} * 1024 * 1024;
constexpr std::size_t kMaxSwitchBytes = std::size_t{8} * 1024 * 1024;
constexpr std::uint64_t kJournalVersion = 1;
constexpr std::size_t kMaxSettingsBytes = std::size_t{512} * 1024;
constexpr std::size_t kMaxConnections = 64;
constexpr std::array kPhases{Phase::kPulling,      Phase::kInstallingOs, Phase::kRebooting,
                             Phase::kConfirmingOs, Phase::kConfiguring,  Phase::kSwitching,
                             Phase::kConfirming,   Phase::kCommitting,   Phase::kReverting};

std::optional<Phase> phase_named(const std::string& name) {
  for (const Phase phase : kPhases) {
    if (name_of(phase) == name) {
      return phase;
    }
  }
  return std::nullopt;
}

base::Json os_json(const OsUpdate& os) {
  return {{"from_version", os.from_version},
          {"to_version", os.to_version},
          {"image", os.image.text()},
          {"boot_id", os.boot_id},
          {"running_root", os.running_root}};
}

base::Result<OsUpdate> parse_os(const base::Json& json) {
  base::JsonObject object(json, "journal.os");
  OsUpdate os{.from_version = object.text("from_version"), .to_version = object.text("to_version")};
  OU_TRY(os.image, oci::Digest::parse(object.text("image")));
  os.boot_id = object.text("boot_id");
  os.running_root = object.text("running_root");
  OU_CHECK(object.finish());
  return os;
}

/// Files of the device's own: any bytes.
base::Json encoded(const std::map<std::string, std::string>& files) {
  auto json = base::Json::object();
  for (const auto& [name, content] : files) {
    json[name] = base::to_base64(base::as_bytes(content));
  }
  return json;
}

base::Status decode(std::map<std::string, std::string>& files) {
  for (auto& [name, content] : files) {
    const auto bytes = base::from_base64(content);
    if (!bytes) {
      return base::Error(base::ErrorCode::kJournal, "journal: " + name + " is not base64");
    }
    content = base::as_text(*bytes);
  }
  return base::ok();
}

base::Json settings_json(const SettingsChange& settings) {
  base::Json json{{"old_supervisor_conf", settings.old_supervisor_conf},
                  {"patch", settings.patch_json},
                  {"undo", settings.undo_json},
                  {"connections", settings.connections},
                  {"old_connections", encoded(settings.old_connections)}};
  if (settings.supervisor) {
    json["supervisor"] = {{"image", settings.supervisor->image.text()},
                          {"name", settings.supervisor->name},
                          {"version", settings.supervisor->version},
                          {"runs", settings.supervisor->runs}};
  }
  return json;
}

base::Result<SettingsChange> parse_settings(const base::Json& json) {
  base::JsonObject object(json, "journal.settings");
  SettingsChange settings;
  settings.old_supervisor_conf = object.text("old_supervisor_conf", kMaxSettingsBytes);
  settings.patch_json = object.text("patch", kMaxSettingsBytes);
  settings.undo_json = object.text("undo", kMaxSettingsBytes);
  settings.connections = object.text_map("connections", kMaxConnections, kMaxSettingsBytes);
  settings.old_connections = object.text_map("old_connections", kMaxConnections, kMaxSettingsBytes);
  const auto& nested = object.object("supervisor", false);
  OU_CHECK(object.finish());
  OU_CHECK(decode(settings.old_connections));
  if (!nested.empty()) {
    base::JsonObject supervisor(nested, "journal.settings.supervisor");
    SettingsChange::Supervisor change;
    OU_TRY(change.image, oci::Digest::parse(supervisor.text("image")));
    change.name = supervisor.text("name");
    change.version = supervisor.text("version");
    change.runs = supervisor.optional_boolean("runs").value_or(false);
    OU_CHECK(supervisor.finish());
    settings.supervisor = std::move(change);
  }
  return settings;
}

base::Result<JournalEntry> parse(std::string_view text) {
  base::JsonLimits limits{.max_bytes = kMaxJournalBytes};
  limits.max_string_bytes = kMaxSwitchBytes;
  OU_TRY(const auto json, base::parse_json(text, limits));
  base::JsonObject object(json, "journal");
  if (object.number("version") != kJournalVersion) {
    object.fail("version", "is not one that this agent wrote");
  }
  const auto phase = phase_named(object.text("phase"));
  if (!phase) {
    object.fail("phase", "is not known");
  }
  OU_TRY(const auto digest, oci::Digest::parse(object.text("bundle")));
  JournalEntry entry{.phase = phase.value_or(Phase::kPulling), .bundle = digest};
  entry.bundle_name = object.text("bundle_name");
  entry.directory_name = object.text("directory_name", 4096);
  entry.fleet_uuid = object.text("fleet_uuid");
  entry.sequence = object.number("sequence");
  entry.from_commit = object.text("from_commit");
  entry.to_commit = object.text("to_commit");
  entry.started_at = object.number("started_at");
  entry.registry_port = static_cast<std::uint16_t>(object.number("registry_port", UINT16_MAX));
  entry.registry_token = object.text("registry_token");
  entry.confirm_seconds = static_cast<std::uint32_t>(object.number("confirm_seconds", UINT32_MAX));
  entry.require_healthy = object.optional_boolean("require_healthy").value_or(true);
  entry.override_update_lock = object.optional_boolean("override_update_lock").value_or(false);
  entry.release_switch_json = object.text("release_switch", kMaxSwitchBytes);
  entry.app_id = object.optional_number("app_id").value_or(0);
  const auto& os = object.object("os", false);
  const auto& settings = object.object("settings", false);
  const auto failure_code = object.optional_number("failure_code", INT32_MAX);
  const auto failure = object.optional_text("failure", kMaxSwitchBytes);
  if (failure_code) {
    entry.failure =
        base::Error(static_cast<base::ErrorCode>(*failure_code), failure.value_or(std::string()));
  }
  OU_CHECK(object.finish());
  if (!os.empty()) {
    OU_TRY(entry.os, parse_os(os));
  }
  if (!settings.empty()) {
    OU_TRY(entry.settings, parse_settings(settings));
  }
  return entry;
}

}  // namespace

std::string_view name_of(Phase phase) {
  switch (phase) {
    case Phase::kPulling:
      return "pulling";
    case Phase::kInstallingOs:
      return "installing-os";
    case Phase::kRebooting:
      return "rebooting";
    case Phase::kConfirmingOs:
      return "confirming-os";
    case Phase::kConfiguring:
      return "configuring";
    case Phase::kSwitching:
      return "switching";
    case Phase::kConfirming:
      return "confirming";
    case Phase::kCommitting:
      return "committing";
    case Phase::kReverting:
      return "reverting";
  }
  return "unknown";
}

base::Result<std::optional<JournalEntry>> Journal::load() const {
  const auto bytes = base::read_file(file_, kMaxJournalBytes);
  if (!bytes && bytes.error().code() == base::ErrorCode::kNotFound) {
    return std::optional<JournalEntry>();
  }
  if (!bytes) {
    return base::Error(bytes.error()).as(base::ErrorCode::kJournal);
  }
  auto entry = parse(base::as_text(*bytes));
  if (!entry) {
    return std::move(entry).error().within("read " + file_.string()).as(base::ErrorCode::kJournal);
  }
  return std::optional<JournalEntry>(*std::move(entry));
}

base::Status Journal::write(const JournalEntry& entry) const {
  base::Json json{{"version", kJournalVersion},
                  {"phase", name_of(entry.phase)},
                  {"bundle", entry.bundle.text()},
                  {"bundle_name", entry.bundle_name},
                  {"directory_name", entry.directory_name},
                  {"fleet_uuid", entry.fleet_uuid},
                  {"sequence", entry.sequence},
                  {"from_commit", entry.from_commit},
                  {"to_commit", entry.to_commit},
                  {"started_at", entry.started_at},
                  {"registry_port", entry.registry_port},
                  {"registry_token", entry.registry_token},
                  {"confirm_seconds", entry.confirm_seconds},
                  {"require_healthy", entry.require_healthy},
                  {"override_update_lock", entry.override_update_lock},
                  {"app_id", entry.app_id},
                  {"release_switch", entry.release_switch_json}};
  if (entry.os) {
    json["os"] = os_json(*entry.os);
  }
  if (entry.settings) {
    json["settings"] = settings_json(*entry.settings);
  }
  if (entry.failure) {
    json["failure_code"] = static_cast<int>(entry.failure->code());
    json["failure"] = entry.failure->message();
  }
  auto written = base::write_file_durably(file_, base::as_bytes(base::to_canonical(json)));
  if (!written) {
    return std::move(written).error().as(base::ErrorCode::kJournal);
  }
  return base::ok();
}

base::Status Journal::clear() const {
  auto removed = base::remove_file_durably(file_);
  if (!removed) {
    return std::move(removed).error().as(base::ErrorCode::kJournal);
  }
  return base::ok();
}

}  // namespace agent::record
