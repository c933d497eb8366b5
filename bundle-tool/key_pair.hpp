// The two files of a new key pair, whatever the keys are for.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "outcome.hpp"

namespace tool {

struct KeyPairOptions {
  std::filesystem::path secret_path;
  std::filesystem::path public_path;
  bool no_password = false;
  std::filesystem::path password_file;
  std::string public_use;  // what takes the public key, for people
};

/// A new pair as its files have it.
struct KeyPair {
  std::string id;
  std::string secret_file;
  std::string public_file;
};

/// Asks for the password, makes the pair, and writes both files or none.
/// \param make makes a pair whose secret file is encrypted if there is a password
/// \error ErrorCode::kAlreadyExists: a key is never overwritten; those of choose_password(),
///   `make` and base::write_new_file()
base::Result<Outcome> make_key_pair(
    const KeyPairOptions& options,
    const std::function<base::Result<KeyPair>(const std::optional<std::string>& password)>& make);

}  // namespace tool
