// Changes config.json as a signed bundle asks for it, key by key, and adds network profiles.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace agent::install {

/// Whose change the OS answers by restarting the engine, and with it every container.
/// \source balenaos.md section 9, the watcher's table
enum class ConfigKeys {
  kQuiet,             // all others
  kEngineRestarting,  // developmentMode, hostname
};

/// A JSON merge patch (RFC 7386) that undoes `patch_json`: only the keys whose values it would
/// change, with what they are now, null for those that are not there. "{}": it is applied already.
/// \error ErrorCode::kConfigJson
base::Result<std::string> previous_values(const std::filesystem::path& config_json,
                                          const std::string& patch_json);

/// Merges the keys of this kind. Every other member keeps its text, byte for byte, and its place; a
/// value that the patch reaches into keeps the order of its keys. Writes only when something
/// changes. \pre the supervisor is stopped: it would write back what it has
/// in memory \return whether anything was written
/// \error ErrorCode::kConfigJson: cannot be read or written, or a key that a bundle may not set
base::Result<bool> apply_config_patch(const std::filesystem::path& config_json,
                                      const std::string& patch_json, ConfigKeys which);

/// What add_connections() would replace: the profiles of the same names that have other content, as
/// they are. Empty when it only adds. Changes nothing.
/// \error ErrorCode::kConfigJson: one of them cannot be read or is larger than a profile may be, or
///   a name that add_connections() refuses
base::Result<std::map<std::string, std::string>> replaced_connections(
    const std::filesystem::path& boot, const std::map<std::string, std::string>& connections);

/// Writes the profiles `old` back where those of `connections` still are; one that somebody has
/// changed since stays, and none is removed. \return names of those that were written
/// \error ErrorCode::kConfigJson
base::Result<std::vector<std::string>> put_back_connections(
    const std::filesystem::path& boot, const std::map<std::string, std::string>& connections,
    const std::map<std::string, std::string>& old);

/// Writes files to system-connections/. One of the same name is replaced; no other is touched.
/// \pre the journal has replaced_connections() \return names of those that were written
/// \error ErrorCode::kConfigJson, also for a name by which the OS looks for its boot selector
base::Result<std::vector<std::string>> add_connections(
    const std::filesystem::path& boot, const std::map<std::string, std::string>& connections);

}  // namespace agent::install
