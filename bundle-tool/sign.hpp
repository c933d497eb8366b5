// bundle-tool sign: adds one more signature to a bundle.
#pragma once

#include <filesystem>
#include <vector>

#include "base/result.hpp"
#include "outcome.hpp"

namespace tool {

struct SignOptions {
  std::filesystem::path bundle;
  std::vector<std::filesystem::path> sign_keys;
  std::filesystem::path password_file;
};

/// Signs manifest.json and shows what has been signed. The blobs are not read: verify does that.
/// \error ErrorCode::kAlreadyExists: the key has signed before; kLimitExceeded: no room for
/// another;
///   those of load_secret_key() and bundle::parse_manifest(); kPermission, kIo
base::Result<Outcome> sign(const SignOptions& options);

}  // namespace tool
