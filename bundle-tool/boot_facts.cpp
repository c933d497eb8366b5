#include "boot_facts.hpp"

#include <algorithm>
#include <charconv>

#include "base/json.hpp"
#include "base/lines.hpp"
#include "base/printable.hpp"
#include "names.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 20;
constexpr std::string_view kConfigPath = "/config.json";

Error unusable(const std::string& why) {
  return Error(ErrorCode::kDiskImage, "the image's device-type.json " + why);
}

/// Where the image says that its configuration belongs.
std::string config_path(const Json& type) {
  const Json::json_pointer place("/configuration/config/path");
  const bool given = type.contains(place) && type.at(place).is_string();
  return given ? type.at(place).get<std::string>() : std::string(kConfigPath);
}

std::vector<std::string> aliases_of(const Json& type) {
  std::vector<std::string> aliases;
  if (const auto given = type.find("aliases"); given != type.end() && given->is_array()) {
    for (const Json& alias : *given) {
      if (alias.is_string()) {
        aliases.push_back(alias.get<std::string>());
      }
    }
  }
  return aliases;
}

/// The value of VERSION in os-release, without its quotes.
std::optional<std::string> version_of(std::string_view os_release) {
  constexpr std::string_view kKey = "VERSION=";
  while (!os_release.empty()) {
    std::string_view line = base::take_line(os_release);
    if (!line.starts_with(kKey)) {
      continue;
    }
    line.remove_prefix(kKey.size());
    if (line.size() >= 2 && line.front() == '"') {
      line = line.substr(1, line.find('"', 1) - 1);
    }
    return is_version(line) ? std::optional<std::string>(line) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

bool BootFacts::is_for(const std::string& type) const {
  return type == device_type || std::find(aliases.begin(), aliases.end(), type) != aliases.end();
}

Result<BootFacts> read_boot_facts(const image::FatVolume& boot) {
  OU_TRY(const auto text, boot.read_file("device-type.json", kMaxFileBytes));
  if (!text) {
    return unusable("is missing from its boot partition: is this a balenaOS image?");
  }
  const auto type = base::parse_json(*text, {.max_bytes = kMaxFileBytes, .max_depth = 64});
  if (!type || !type->is_object()) {
    return unusable("is damaged: it is no JSON object");
  }
  const auto slug = type->find("slug");
  if (slug == type->end() || !slug->is_string() ||
      !is_device_type(slug->get_ref<const std::string&>())) {
    return unusable("names no device type");
  }
  if (const std::string path = config_path(*type); path != kConfigPath) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "images of " + slug->get<std::string>() + " keep their configuration in " +
                     base::printable(path) + ", which this tool does not know how to write");
  }
  BootFacts facts{slug->get<std::string>(), aliases_of(*type), std::nullopt};
  OU_TRY(const auto os_release, boot.read_file("os-release", kMaxFileBytes));
  if (os_release) {
    facts.os_version = version_of(*os_release);
  }
  return facts;
}

bool is_at_least(const std::string& version, unsigned major, unsigned minor) {
  unsigned found_major = 0;
  unsigned found_minor = 0;
  const char* const end = version.data() + version.size();
  const auto first = std::from_chars(version.data(), end, found_major);
  if (first.ec == std::errc() && first.ptr != end && *first.ptr == '.') {
    std::from_chars(first.ptr + 1, end, found_minor);
  }
  return found_major > major || (found_major == major && found_minor >= minor);
}

}  // namespace tool
