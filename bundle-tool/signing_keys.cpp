#include "signing_keys.hpp"

#include <algorithm>

#include "base/files.hpp"
#include "bundle/key_limits.hpp"
#include "secret.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

SecretSource source_of(const std::filesystem::path& password_file, std::string prompt) {
  return {.file = password_file,
          .variable = kPasswordVariable,
          .option = "--password-file",
          .what = "password",
          .prompt = std::move(prompt),
          .max_bytes = bundle::kMaxPasswordBytes,
          .missing = ErrorCode::kKeyPassword};
}

/// The password of the encrypted key at `key`.
Result<std::string> password_of(const std::filesystem::path& key,
                                const std::filesystem::path& password_file) {
  return read_secret(source_of(password_file, "Password of " + key.string() + ": "));
}

/// What both kinds of secret keys have: a file, a way to tell that it is encrypted, a parser.
template <typename Key>
Result<Key> load(const std::filesystem::path& path, const std::filesystem::path& password_file,
                 Result<bool> (*is_encrypted)(std::string_view)) {
  const std::string doing = "key " + path.string();
  OU_TRY(const base::Bytes bytes, base::read_file(path, bundle::kMaxKeyFileBytes).within(doing));
  const std::string_view file = base::as_text(bytes);
  OU_TRY(const bool encrypted, is_encrypted(file).within(doing));
  std::optional<std::string> password;
  if (encrypted) {
    OU_TRY(password, password_of(path, password_file).within(doing));
  }
  return Key::parse_file(file, password).within(doing);
}

}  // namespace

Result<bundle::SecretKey> load_secret_key(const std::filesystem::path& path,
                                          const std::filesystem::path& password_file) {
  return load<bundle::SecretKey>(path, password_file, bundle::is_encrypted_key_file);
}

Result<bundle::BoxSecretKey> load_box_secret_key(const std::filesystem::path& path,
                                                 const std::filesystem::path& password_file) {
  return load<bundle::BoxSecretKey>(path, password_file, bundle::is_encrypted_box_key_file);
}

Result<std::vector<bundle::SecretKey>> load_secret_keys(
    const std::vector<std::filesystem::path>& paths, const std::filesystem::path& password_file) {
  std::vector<bundle::SecretKey> keys;
  std::vector<bundle::KeyId> ids;
  for (const auto& path : paths) {
    OU_TRY(bundle::SecretKey key, load_secret_key(path, password_file));
    const bundle::KeyId id = key.public_key().id;
    if (std::find(ids.begin(), ids.end(), id) != ids.end()) {
      return Error(ErrorCode::kUsage,
                   path.string() + " is the same key as one before it: each key signs once");
    }
    ids.push_back(id);
    keys.push_back(std::move(key));
  }
  return keys;
}

std::string signature_comment(const bundle::Manifest& manifest) {
  return "offline-updater bundle:" + manifest.bundle_id +
         " sequence:" + std::to_string(manifest.sequence) + " fleet:" + manifest.targets.fleet_uuid;
}

Result<std::string> choose_password(const std::filesystem::path& password_file) {
  const SecretSource source = source_of(password_file, "Password for the new key: ");
  OU_TRY(std::optional<std::string> password, given_secret(source));
  if (!password) {
    OU_TRY(password, ask_secret(source));
    OU_TRY(const std::string again, ask_secret(source_of(password_file, "The same again: ")));
    if (*password != again) {
      return Error(ErrorCode::kKeyPassword, "the two passwords differ; nothing was written");
    }
  }
  if (password->empty()) {
    return Error(ErrorCode::kKeyPassword,
                 "the password is empty: choose one, or pass --no-password for a key without");
  }
  return *std::move(password);
}

}  // namespace tool
