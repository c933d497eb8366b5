#include "record/identity.hpp"

#include <algorithm>

#include "base/json.hpp"

namespace agent::record {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;

Json json_of(const ConfigDocument& document, std::string_view key) {
  const auto text = document.value(key);
  return text ? Json::parse(*text, nullptr, /*allow_exceptions=*/false) : Json();
}

bool serves_registration_alone(std::string_view key) {
  return key == "apiKey" || key == "initialDeviceName";
}

/// deviceApiKeys has a key for each API host; another host more is no change of identity.
bool holds_all(const Json& before, const Json& now) {
  return std::ranges::all_of(before.items(), [&now](const auto& entry) {
    return now.contains(entry.key()) && now.at(entry.key()) == entry.value();
  });
}

bool is_changed(const ConfigDocument& before, const ConfigDocument& now, std::string_view key) {
  const auto old_text = text_of(before, key);
  const auto new_text = text_of(now, key);
  if (old_text.empty() || old_text == new_text) {
    return false;
  }
  if (serves_registration_alone(key) && new_text.empty() && !text_of(now, "deviceApiKey").empty()) {
    return false;
  }
  const auto old_json = json_of(before, key);
  const auto new_json = json_of(now, key);
  return !(old_json.is_object() && new_json.is_object() && holds_all(old_json, new_json));
}

}  // namespace

const std::vector<std::string>& identity_keys() {
  static const std::vector<std::string> keys{
      "uuid",          "deviceApiKey", "deviceApiKeys", "deviceId",          "registered_at",
      "applicationId", "userId",       "deviceType",    "initialDeviceName", "apiKey"};
  return keys;
}

bool is_secret_key(std::string_view key) {
  return key == "deviceApiKey" || key == "deviceApiKeys" || key == "apiKey";
}

std::string text_of(const ConfigDocument& document, std::string_view key) {
  const auto json = json_of(document, key);
  if (json.is_null() || (json.is_structured() && json.empty())) {
    return "";
  }
  return json.is_string() ? json.get<std::string>() : base::to_canonical(json);
}

base::Status check_identity(const ConfigDocument& document) {
  for (const auto* key : {"uuid", "deviceType", "applicationId"}) {
    if (text_of(document, key).empty()) {
      return Error(ErrorCode::kConfigJson, std::string("config.json has no ") + key);
    }
  }
  if (text_of(document, "deviceApiKey").empty() && text_of(document, "apiKey").empty()) {
    return Error(ErrorCode::kConfigJson, "config.json has neither deviceApiKey nor apiKey");
  }
  return base::ok();
}

std::vector<std::string> changed_identity(const ConfigDocument& before, const ConfigDocument& now) {
  std::vector<std::string> changed;
  for (const auto& key : identity_keys()) {
    if (is_changed(before, now, key)) {
      changed.push_back(key);
    }
  }
  return changed;
}

std::vector<std::string> lost_identity(const ConfigDocument& before, const ConfigDocument& now) {
  auto lost = changed_identity(before, now);
  if (std::ranges::find(lost, "uuid") == lost.end()) {
    std::erase_if(lost, [&now](const auto& key) {
      return !is_secret_key(key) && !text_of(now, key).empty();
    });
  }
  return lost;
}

std::vector<std::string> put_back_identity(const ConfigDocument& before, ConfigDocument& now,
                                           std::vector<std::string> keys) {
  auto touched = std::move(keys);
  const bool other_device = std::ranges::find(touched, "uuid") != touched.end();
  for (const auto& key : touched) {
    now.set(key, before.value(key).value_or("null"));
  }
  for (const auto& key : identity_keys()) {
    if (other_device && !before.value(key) && now.value(key)) {
      now.erase(key);
      touched.push_back(key);
    }
  }
  return touched;
}

}  // namespace agent::record
