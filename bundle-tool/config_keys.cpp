#include "config_keys.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "base/json.hpp"
#include "base/printable.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::printable;
using base::Status;

enum class Kind {
  kText,
  kFlag,
  kNumber,    // or text of digits: both are in use
  kTexts,     // an array
  kTextMap,   // an object with names of somebody's own choice
  kGroup,     // an object with keys of this table
  kAnything,  // written by old tools in several forms
};

struct Key {
  std::string_view name;
  Kind kind;
};

constexpr std::array kKeys = std::to_array<Key>({
    {"apiEndpoint", Kind::kText},
    {"apiKey", Kind::kText},
    {"apiTimeout", Kind::kNumber},
    {"appUpdatePollInterval", Kind::kNumber},
    {"applicationId", Kind::kNumber},
    {"applicationName", Kind::kText},
    {"balenaRootCA", Kind::kText},
    {"bootstrapRetryDelay", Kind::kNumber},
    {"country", Kind::kText},
    {"deltaEndpoint", Kind::kText},
    {"developmentMode", Kind::kFlag},
    {"deviceApiKey", Kind::kText},
    {"deviceApiKeys", Kind::kTextMap},
    {"deviceId", Kind::kNumber},
    {"deviceType", Kind::kText},
    {"dnsServers", Kind::kText},
    {"files", Kind::kTextMap},
    {"hostname", Kind::kText},
    {"initialDeviceName", Kind::kText},
    {"installer", Kind::kGroup},
    {"installer.migrate", Kind::kGroup},
    {"installer.migrate.force", Kind::kFlag},
    {"installer.secureboot", Kind::kFlag},
    {"installer.target_devices", Kind::kText},
    {"listenPort", Kind::kNumber},
    {"localMode", Kind::kFlag},
    {"logsEndpoint", Kind::kText},
    {"mixpanelToken", Kind::kText},
    {"network", Kind::kAnything},
    {"ntpServers", Kind::kText},
    {"os", Kind::kGroup},
    {"os.fan", Kind::kGroup},
    {"os.fan.profile", Kind::kText},
    {"os.kernel", Kind::kGroup},
    {"os.kernel.extraFirmwareVol", Kind::kText},
    {"os.network", Kind::kGroup},
    {"os.network.connectivity", Kind::kGroup},
    {"os.network.connectivity.interval", Kind::kText},
    {"os.network.connectivity.response", Kind::kText},
    {"os.network.connectivity.uri", Kind::kText},
    {"os.network.wifi", Kind::kGroup},
    {"os.network.wifi.randomMacAddressScan", Kind::kFlag},
    {"os.power", Kind::kGroup},
    {"os.power.mode", Kind::kText},
    {"os.sshKeys", Kind::kTexts},
    {"os.udevRules", Kind::kTextMap},
    {"persistentLogging", Kind::kFlag},
    {"registered_at", Kind::kNumber},
    {"registryEndpoint", Kind::kText},
    {"userId", Kind::kNumber},
    {"username", Kind::kText},
    {"uuid", Kind::kText},
    {"vpnEndpoint", Kind::kText},
    {"vpnPort", Kind::kNumber},
    {"wifiKey", Kind::kText},
    {"wifiSsid", Kind::kText},
});

constexpr std::size_t kMaxValueBytes = std::size_t{256} * 1024;
constexpr std::size_t kMaxValueDepth = 16;

std::optional<Kind> kind_of(std::string_view name) {
  const auto* const key =
      std::find_if(kKeys.begin(), kKeys.end(), [name](const Key& one) { return one.name == name; });
  return key == kKeys.end() ? std::nullopt : std::optional(key->kind);
}

bool is_digits(const Json& value) {
  if (!value.is_string()) {
    return false;
  }
  const auto& text = value.get_ref<const std::string&>();
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

bool all_text(const Json& values) {
  return std::all_of(values.begin(), values.end(),
                     [](const Json& value) { return value.is_string(); });
}

bool fits(const Json& value, Kind kind) {
  switch (kind) {
    case Kind::kText:
      return value.is_string();
    case Kind::kFlag:
      return value.is_boolean();
    case Kind::kNumber:
      return value.is_number_unsigned() || (value.is_number_integer() && value >= 0) ||
             is_digits(value);
    case Kind::kTexts:
      return value.is_array() && all_text(value);
    case Kind::kTextMap:
      return value.is_object() && all_text(value);
    case Kind::kGroup:
      return value.is_object();
    case Kind::kAnything:
      return true;
  }
  return false;
}

std::string_view text_of(Kind kind) {
  switch (kind) {
    case Kind::kText:
      return "a string";
    case Kind::kFlag:
      return "true or false";
    case Kind::kNumber:
      return "a whole number";
    case Kind::kTexts:
      return "an array of strings";
    case Kind::kTextMap:
      return "an object with strings";
    case Kind::kGroup:
      return "an object";
    case Kind::kAnything:
      return "any value";
  }
  return "";
}

std::string found(const Json& value) {
  if (value.is_null()) {
    return "null";
  }
  const std::string name = value.type_name();
  return (name == "array" || name == "object" ? "an " : "a ") + name;
}

/// What is wrong with a value that does not fit, without quoting it.
std::string misfit(const Json& value, Kind kind) {
  const bool right_container =
      (kind == Kind::kTexts && value.is_array()) || (kind == Kind::kTextMap && value.is_object());
  return right_container ? "has something else in it" : "is " + found(value);
}

std::string joined(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

void examine_object(const Json& object, const std::string& prefix, ConfigFindings& findings) {
  for (const auto& [name, value] : object.items()) {
    const std::string key = joined(prefix, name);
    const auto kind = kind_of(key);
    if (!kind) {
      findings.unknown.push_back(printable(key));
    } else if (!fits(value, *kind)) {
      findings.misfits.push_back(key + " has to be " + std::string(text_of(*kind)) + ", and " +
                                 misfit(value, *kind));
    } else if (*kind == Kind::kGroup) {
      examine_object(value, key, findings);
    }
  }
}

/// "os.network.wifi" as its names. Behind a map's key everything is one name: names of udev rules
/// and of servers have dots.
std::vector<std::string> split_key(std::string_view key) {
  std::vector<std::string> names;
  std::string path;
  while (true) {
    const bool map = kind_of(path) == Kind::kTextMap;
    const std::size_t dot = map ? std::string_view::npos : key.find('.');
    names.emplace_back(key.substr(0, dot));
    path = joined(path, names.back());
    if (dot == std::string_view::npos) {
      return names;
    }
    key.remove_prefix(dot + 1);
  }
}

bool is_utf8(std::string_view text) {
  const Json value(text);
  return Json::parse(value.dump(-1, ' ', false, Json::error_handler_t::replace)) == value;
}

Json value_for(std::string_view key, std::string_view text) {
  const auto kind = kind_of(key);
  auto parsed = base::parse_json(text, {.max_bytes = kMaxValueBytes, .max_depth = kMaxValueDepth});
  if (kind && *kind != Kind::kAnything && *kind != Kind::kText && parsed && fits(*parsed, *kind)) {
    return *std::move(parsed);
  }
  // A string in its own quotes is meant as that string.
  return kind && parsed && parsed->is_string() ? *std::move(parsed) : Json(text);
}

}  // namespace

ConfigFindings examine_config_keys(const Json& config) {
  ConfigFindings findings;
  if (config.is_object()) {
    examine_object(config, "", findings);
  } else {
    findings.misfits.push_back("the configuration has to be an object, and is " + found(config));
  }
  return findings;
}

Status check_config_keys(const Json& config) {
  const ConfigFindings findings = examine_config_keys(config);
  if (!findings.misfits.empty()) {
    return Error(ErrorCode::kConfigInvalid, findings.misfits.front());
  }
  return base::ok();
}

Status set_config_key(Json& config, std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string_view key = assignment.substr(0, equals);
  if (equals == std::string_view::npos || key.empty() || key.front() == '.' || key.back() == '.' ||
      key.find("..") != std::string_view::npos || printable(key) != key ||
      !is_utf8(assignment.substr(equals + 1))) {
    return Error(ErrorCode::kUsage,
                 "--set takes KEY=VALUE, such as developmentMode=true or "
                 "os.network.connectivity.interval=600");
  }
  const std::vector<std::string> names = split_key(key);
  Json* place = &config;
  for (const std::string& name : names) {
    if (!place->is_object()) {
      return Error(ErrorCode::kConfigInvalid, std::string(key) +
                                                  " cannot be set: what is there in "
                                                  "front of ." +
                                                  name + " is " + found(*place));
    }
    const bool last = &name == &names.back();
    const auto known = place->find(name);
    place = known != place->end() ? &*known : &(*place)[name];
    if (!last && place->is_null()) {
      *place = Json::object();
    }
  }
  *place = value_for(key, assignment.substr(equals + 1));
  return base::ok();
}

std::string documented_config_keys() {
  std::string lines;
  for (const Key& key : kKeys) {
    if (key.kind != Kind::kGroup) {
      lines += std::string(key.name) + " " + std::string(text_of(key.kind)) + "\n";
    }
  }
  return lines;
}

}  // namespace tool
