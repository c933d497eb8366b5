// NetworkManager's connection files as they are put on a boot partition, by a bundle or into an
// image.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace tool {

/// The files by their names.
/// \error ErrorCode::kUsage: no NetworkManager keyfile, a file name that does not do, the same name
///   twice on a file system without case; kLimitExceeded, kNotFound, kIo
base::Result<std::map<std::string, std::string>> read_connections(
    const std::vector<std::filesystem::path>& paths);

}  // namespace tool
