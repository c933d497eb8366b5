#include "image_inspect_boot.hpp"

#include <algorithm>
#include <array>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "image/fat_volume.hpp"

namespace tool {
namespace {

using base::Json;
using base::Result;

constexpr std::uint64_t kMaxBootFileBytes = std::uint64_t{4} << 20U;
constexpr std::size_t kShownUuidBytes = 7;
constexpr std::size_t kMaxShownKeys = 200;

// Whatever is not here may be a secret.
constexpr std::array<std::string_view, 23> kOpenKeys = {
    "apiEndpoint",   "appUpdatePollInterval", "applicationId", "applicationName",  "country",
    "deltaEndpoint", "developmentMode",       "deviceId",      "deviceType",       "dnsServers",
    "hostname",      "initialDeviceName",     "listenPort",    "localMode",        "logsEndpoint",
    "ntpServers",    "persistentLogging",     "registered_at", "registryEndpoint", "userId",
    "username",      "vpnEndpoint",           "vpnPort"};

Result<std::optional<Json>> read_json(const image::FatVolume& boot, const std::string& path) {
  OU_TRY(const auto text, boot.read_file(path, kMaxBootFileBytes).within(path));
  if (!text) {
    return std::optional<Json>();
  }
  OU_TRY(Json json, base::parse_json(*text, {.max_bytes = kMaxBootFileBytes}).within(path));
  if (!json.is_object()) {
    return base::Error(base::ErrorCode::kDiskImage, path + " is no JSON object");
  }
  return std::optional(std::move(json));
}

std::string text_of(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() ? ""
         : found->is_string()  ? found->get<std::string>()
         : found->is_number()  ? found->dump()
                               : "";
}

void take_config(const Json& config, InspectedBoot& facts) {
  facts.has_config = true;
  facts.application_id = text_of(config, "applicationId");
  facts.device_uuid = text_of(config, "uuid").substr(0, kShownUuidBytes);
  for (const auto& [key, value] : config.items()) {
    if (facts.settings.size() + facts.hidden_keys.size() == kMaxShownKeys) {
      facts.problems.emplace_back("config.json has more than 200 keys");
      return;
    }
    if (std::ranges::count(kOpenKeys, key) > 0 && value.is_primitive()) {
      facts.settings.emplace(key, base::to_canonical(value));
    } else {
      facts.hidden_keys.push_back(key);
    }
  }
}

/// \source balena-cloud.md section 13 (resin-sample, resin-sample.ignore)
bool is_sample(const std::string& name) {
  return name.ends_with(".ignore") || name == "resin-sample" || name == "README.ignore";
}

Result<std::vector<std::string>> list_profiles(const image::FatVolume& boot) {
  auto entries = boot.list("system-connections");
  if (!entries && entries.error().code() == base::ErrorCode::kNotFound) {
    return std::vector<std::string>();
  }
  OU_TRY(const std::vector<image::FatEntry> found, std::move(entries));
  std::vector<std::string> names;
  for (const image::FatEntry& entry : found) {
    if (!entry.directory && !is_sample(entry.name)) {
      names.push_back(entry.name);
    }
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

Result<InspectedBoot> inspect_boot(const image::BlockRange& range,
                                   const std::filesystem::path& scratch) {
  OU_TRY(const image::FatVolume boot, image::FatVolume::open(range, scratch));
  InspectedBoot facts;
  facts.free_bytes = boot.free_bytes();
  if (const auto type = read_json(boot, "device-type.json"); !type) {
    facts.problems.push_back(type.error().message());
  } else if (*type) {
    facts.device_type = text_of(**type, "slug");
  }
  if (const auto config = read_json(boot, "config.json"); !config) {
    facts.problems.push_back(config.error().message());
  } else if (*config) {
    take_config(**config, facts);
  }
  if (auto profiles = list_profiles(boot)) {
    facts.profiles = *std::move(profiles);
  } else {
    facts.problems.push_back(profiles.error().message());
  }
  return facts;
}

}  // namespace tool
