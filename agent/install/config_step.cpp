#include "install/config_step.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/fatrw.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "bundle/manifest.hpp"
#include "record/boot_settings.hpp"
#include "record/config_document.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;
using record::ConfigDocument;
using Json = nlohmann::ordered_json;  // keeps the order of what others wrote

constexpr unsigned kConfigMode = 0600;
constexpr unsigned kConnectionMode = 0600;  // they hold passphrases
constexpr std::size_t kMaxNameBytes = 128;
constexpr const char* kConnections = "system-connections";

base::Result<Json> parse_object(std::string_view text, const std::string& what) {
  auto json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return Error(ErrorCode::kConfigJson, what + " is no JSON object");
  }
  return json;
}

base::Result<ConfigDocument> parse_config(const std::filesystem::path& file,
                                          const base::Result<base::Bytes>& bytes) {
  auto document = bytes ? ConfigDocument::parse(base::as_text(*bytes)) : bytes.error();
  if (!document) {
    return std::move(document).error().within("read " + file.string()).as(ErrorCode::kConfigJson);
  }
  return document;
}

/// A member's value; null when it is not there.
Json value_of(const ConfigDocument& config, const std::string& key) {
  const auto text = config.value(key);
  return text ? Json::parse(*text, nullptr, /*allow_exceptions=*/false) : Json();
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

/// What undoes the patch `value` of something that is `present`; nothing when it changes nothing.
std::optional<Json> undo_of(const Json& present, const Json& value) {
  if (!value.is_object() || !present.is_object()) {
    return present == value ? std::nullopt : std::optional(present);
  }
  auto undo = Json::object();
  for (const auto& [key, nested] : value.items()) {
    if (auto change = undo_of(present.value(key, Json()), nested)) {
      undo[key] = *std::move(change);
    }
  }
  return undo.empty() ? std::nullopt : std::optional(std::move(undo));
}

bool restarts_engine(const std::string& key) {
  return key == "developmentMode" || key == "hostname";
}

/// A plain file name that is none of those by which the OS finds its boot selectors.
bool is_connection_name(std::string_view name) {
  const bool plain = std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ' ';
  });
  return plain && !name.empty() && name.size() <= kMaxNameBytes && !name.starts_with('.') &&
         !record::is_boot_selector_name(name);
}

base::Status check_names(const std::map<std::string, std::string>& connections) {
  for (const auto& [name, content] : connections) {
    if (!is_connection_name(name)) {
      return Error(ErrorCode::kConfigJson,
                   "a network profile may not be called \"" + base::printable(name, 64) + "\"");
    }
  }
  return base::ok();
}

}  // namespace

base::Result<std::string> previous_values(const std::filesystem::path& config_json,
                                          const std::string& patch_json) {
  // The supervisor may be writing: what looks left over may be in use.
  OU_TRY(const auto config,
         parse_config(config_json, base::fatrw_peek(config_json, record::kMaxConfigJsonBytes)));
  OU_TRY(const auto patch, read_patch(patch_json));
  auto undo = Json::object();
  for (const auto& [key, value] : patch.items()) {
    if (auto change = undo_of(value_of(config, key), value)) {
      undo[key] = *std::move(change);
    }
  }
  return undo.dump();
}

base::Result<bool> apply_config_patch(const std::filesystem::path& config_json,
                                      const std::string& patch_json, ConfigKeys which) {
  OU_TRY(auto config,
         parse_config(config_json, base::fatrw_read(config_json, record::kMaxConfigJsonBytes)));
  OU_TRY(const auto patch, read_patch(patch_json));
  const auto before = config.text();
  for (const auto& [key, value] : patch.items()) {
    const auto present = value_of(config, key);
    if (restarts_engine(key) != (which == ConfigKeys::kEngineRestarting) ||
        !undo_of(present, value)) {
      continue;
    }
    auto merged = present;
    merged.merge_patch(value);
    if (merged.is_null()) {
      config.erase(key);
    } else {
      config.set(key, merged.dump());
    }
  }
  if (config.text() == before) {
    return false;
  }
  auto written = base::fatrw_write(config_json, base::as_bytes(config.text()),
                                   base::mode_of_file(config_json, kConfigMode));
  if (!written) {
    return std::move(written).error().as(ErrorCode::kConfigJson);
  }
  return true;
}

base::Result<std::map<std::string, std::string>> replaced_connections(
    const std::filesystem::path& boot, const std::map<std::string, std::string>& connections) {
  OU_CHECK(check_names(connections));
  std::map<std::string, std::string> replaced;
  for (const auto& [name, content] : connections) {
    const auto file = boot / kConnections / name;
    const auto present = base::fatrw_peek(file, bundle::kMaxConnectionBytes);
    if (!present && present.error().code() != ErrorCode::kNotFound) {
      return Error(present.error())
          .within("read the network profile " + name + ", which the bundle replaces")
          .as(ErrorCode::kConfigJson);
    }
    if (present && base::as_text(*present) != content) {
      replaced.emplace(name, base::as_text(*present));
    }
  }
  return replaced;
}

base::Result<std::vector<std::string>> put_back_connections(
    const std::filesystem::path& boot, const std::map<std::string, std::string>& connections,
    const std::map<std::string, std::string>& old) {
  OU_TRY(const auto changed, replaced_connections(boot, connections));
  std::map<std::string, std::string> wanted;
  for (const auto& [name, content] : old) {
    if (!changed.contains(name)) {
      wanted.emplace(name, content);
    }
  }
  return add_connections(boot, wanted);
}

base::Result<std::vector<std::string>> add_connections(
    const std::filesystem::path& boot, const std::map<std::string, std::string>& connections) {
  OU_CHECK(check_names(connections));
  std::vector<std::string> written;
  const auto directory = boot / kConnections;
  for (const auto& [name, content] : connections) {
    std::error_code failed;  // writing the file tells
    std::filesystem::create_directories(directory, failed);
    const auto present = base::fatrw_read(directory / name, record::kMaxConfigJsonBytes);
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
