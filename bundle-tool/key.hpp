// bundle-tool key generate: a new key pair in minisign's formats.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "outcome.hpp"

namespace tool {

struct KeyGenerateOptions {
  std::filesystem::path name;  // NAME.key and NAME.pub are written
  bool no_password = false;
  std::filesystem::path password_file;
};

/// \error ErrorCode::kAlreadyExists: a key is never overwritten; kKeyPassword, kPermission, kIo
base::Result<Outcome> key_generate(const KeyGenerateOptions& options);

}  // namespace tool
