// Public SSH keys for os.sshKeys of config.json.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace tool {

/// The keys of a file, one a line as ssh-keygen writes them (TYPE BASE64 [COMMENT]); empty lines
/// and lines that start with '#' do not count. \error ErrorCode::kUsage: a line that is no public
/// key, a secret key, no key at all; kNotFound,
///   kLimitExceeded, kPermission, kIo
base::Result<std::vector<std::string>> read_ssh_keys(const std::filesystem::path& path);

}  // namespace tool
