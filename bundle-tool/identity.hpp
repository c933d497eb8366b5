// bundle-tool identity: keys for sealed exports of devices' identities, and opening them.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "outcome.hpp"

namespace tool {

struct IdentityKeygenOptions {
  std::filesystem::path output;  // ends in ".key"; the public key is beside it, with ".pub"
  bool no_password = false;
  std::filesystem::path password_file;
};

/// \error ErrorCode::kAlreadyExists: a key is never overwritten; kUsage, kKeyPassword, kPermission,
///   kIo
base::Result<Outcome> identity_keygen(const IdentityKeygenOptions& options);

struct IdentityOpenOptions {
  std::filesystem::path key;
  std::filesystem::path password_file;
  std::filesystem::path file;
  std::filesystem::path output;  // a new directory for the files; empty: only shows what there is
};

/// Text shows no secrets; JSON has config.json and every file.
/// \error ErrorCode::kKeyInvalid, kKeyPassword, kFileAltered; kAlreadyExists for the output; kIo
base::Result<Outcome> identity_open(const IdentityOpenOptions& options);

}  // namespace tool
