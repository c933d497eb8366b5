// Secrets that a command needs: from a file, the environment or the terminal, never from the
// command line, which other users can see.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace tool {

struct SecretSource {
  std::filesystem::path file;  // its first line; empty: none was given
  const char* variable;        // of the environment
  std::string option;          // that names the file: "--password-file"
  std::string what;            // "password"
  std::string prompt;          // on the terminal: "Password of owner.key: "
  std::size_t max_bytes;
  base::ErrorCode missing;  // the error when there is no secret to be had
};

/// From the file, else from the environment, if there is one.
/// \error ErrorCode::kNotFound, kPermission, kLimitExceeded, kIo
base::Result<std::optional<std::string>> given_secret(const SecretSource& source);

/// Asks on the terminal, without echo. \error source.missing; ErrorCode::kCancelled
base::Result<std::string> ask_secret(const SecretSource& source);

/// Given, else asked for. \error those of both
base::Result<std::string> read_secret(const SecretSource& source);

}  // namespace tool
