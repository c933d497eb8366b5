// Secret keys and their passwords, from files, the environment or the terminal.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "bundle/sealed_identity.hpp"
#include "bundle/signature.hpp"

namespace tool {

inline constexpr const char* kPasswordVariable = "OFFLINE_UPDATER_KEY_PASSWORD";

/// Reads a minisign secret key. If it is encrypted, its password comes from `password_file` (its
/// first line), else from OFFLINE_UPDATER_KEY_PASSWORD, else from the terminal, without echo.
/// \error ErrorCode::kKeyPassword: none to be had, or wrong; kKeyInvalid, kNotFound, kPermission,
/// kIo
base::Result<bundle::SecretKey> load_secret_key(const std::filesystem::path& path,
                                                const std::filesystem::path& password_file);

/// The same for a secret key that opens sealed exports. \error as load_secret_key()
base::Result<bundle::BoxSecretKey> load_box_secret_key(const std::filesystem::path& path,
                                                       const std::filesystem::path& password_file);

/// All of them; the same key twice is an error, since a second signature by it counts nothing.
/// \error ErrorCode::kUsage for the same key twice; as load_secret_key()
base::Result<std::vector<bundle::SecretKey>> load_secret_keys(
    const std::vector<std::filesystem::path>& paths, const std::filesystem::path& password_file);

/// The trusted comment of a bundle's signatures: what was signed, for people who look at one.
std::string signature_comment(const bundle::Manifest& manifest);

/// A password for a new key, from the same places; asked for twice on a terminal.
/// \error ErrorCode::kKeyPassword: none to be had, empty, or the two differ
base::Result<std::string> choose_password(const std::filesystem::path& password_file);

}  // namespace tool
