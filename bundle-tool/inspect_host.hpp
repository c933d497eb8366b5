// How `bundle-tool inspect` shows what a bundle brings besides a release.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bundle/manifest.hpp"

namespace tool {

/// Label and value of each line. Connections are shown by name only: they hold passphrases.
std::vector<std::pair<std::string, std::string>> host_lines(const bundle::Manifest& manifest);

/// The same as a JSON object with those of "os", "supervisor" and "config" that the bundle has.
std::string host_json(const bundle::Manifest& manifest);

}  // namespace tool
