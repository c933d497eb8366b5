#include "install/config_step.hpp"

#include <nlohmann/json.hpp>

#include "base/fatrw.hpp"
#include "base/files.hpp"
#include "base/printable.hpp"
#include "bundle/manifest.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;
using Json = nlohmann::ordered_json;  // keeps the order of what others wrote

constexpr std::size_t kMaxConfigBytes = std::size_t{1024} * 1024;
constexpr unsigned kConnectionMode = 0600;  // they hold passphrases

base::Result<Json> parse_object(std::string_view text, const std::string& what) {
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return Error(ErrorCode::kConfigJson, what + " is no JSON object");
  }
  return json;
}

base::Result<Json> read_config(const std::filesystem::path& file) {
  auto bytes = base::fatrw_read(file, kMaxConfigBytes);
  if (!bytes) {
    return std::move(bytes).error().as(ErrorCode::kConfigJson);
  }
  return parse_object(base::as_text(*bytes), file.string());
}

base::Result<Json> read_patch(const std::string& text) {
  OU_TRY(auto patch, parse_object(text, "the patch of config.json"));
  for (const auto& [key, value] : patch.items()) {
    if (!bundle::is_patchable_config_key(key)) {
      return Error(ErrorCode::kConfigJson,
                   "a bundle may not set \"" + base::printable(key, 64) + "\" in config.json");
    }
  }
  return patch;
}

/// The patch that turns `now` with `patch` merged into it back to `now`.
Json undo_of(const Json& now, const Json& patch) {
  auto undo = Json::object();
  for (const auto& [key, value] : patch.items()) {
    const auto present = now.value(key, Json());
    if (value.is_object() && present.is_object()) {
      if (auto nested = undo_of(present, value); !nested.empty()) {
        undo[key] = std::move(nested);
      }
    } else if (present != value) {
      undo[key] = present;
    }
  }
  return undo;
}

bool restarts_engine(const std::string& key) {
  return key == "developmentMode" || key == "hostname";
}

}  // namespace

base::Result<std::string> previous_values(const std::filesystem::path& config_json,
                                          const std::string& patch_json) {
  OU_TRY(const auto config, read_config(config_json));
  OU_TRY(const auto patch, read_patch(patch_json));
  return undo_of(config, patch).dump();
}

base::Result<bool> apply_config_patch(const std::filesystem::path& config_json,
                                      const std::string& patch_json, ConfigKeys which) {
  OU_TRY(const auto config, read_config(config_json));
  OU_TRY(const auto patch, read_patch(patch_json));
  auto patched = config;
  for (const auto& [key, value] : patch.items()) {
    if (restarts_engine(key) == (which == ConfigKeys::kEngineRestarting)) {
      patched.merge_patch(Json{{key, value}});
    }
  }
  if (patched == config) {
    return false;
  }
  auto written = base::fatrw_write(config_json, base::as_bytes(patched.dump()), 0600);
  if (!written) {
    return std::move(written).error().as(ErrorCode::kConfigJson);
  }
  return true;
}

base::Result<std::vector<std::string>> add_connections(
    const std::filesystem::path& boot, const std::map<std::string, std::string>& connections) {
  std::vector<std::string> written;
  const auto directory = boot / "system-connections";
  for (const auto& [name, content] : connections) {
    std::error_code failed;
    std::filesystem::create_directories(directory, failed);
    const auto present = base::fatrw_read(directory / name, kMaxConfigBytes);
    if (present && base::as_text(*present) == content) {
      continue;
    }
    if (auto done = base::fatrw_write(directory / name, base::as_bytes(content), kConnectionMode);
        !done) {
      return std::move(done).error().as(ErrorCode::kConfigJson);
    }
    written.push_back(name);
  }
  return written;
}

}  // namespace agent::install
