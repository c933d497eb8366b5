#include "key.hpp"

#include <unistd.h>

#include "base/files.hpp"
#include "base/json.hpp"
#include "signing_keys.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

}  // namespace

Result<Outcome> key_generate(const KeyGenerateOptions& options) {
  const fs::path secret_path = options.name.string() + ".key";
  const fs::path public_path = options.name.string() + ".pub";
  for (const fs::path& path : {secret_path, public_path}) {
    std::error_code ignored;  // creating the file tells
    if (fs::exists(fs::symlink_status(path, ignored))) {
      return Error(ErrorCode::kAlreadyExists,
                   path.string() +
                       " is there already, and a key is never overwritten: choose "
                       "another name");
    }
  }
  std::optional<std::string> password;
  if (!options.no_password) {
    OU_TRY(password, choose_password(options.password_file));
  }
  OU_TRY(const bundle::SecretKey key, bundle::SecretKey::generate());
  OU_TRY(const std::string secret, key.to_file(password));
  OU_CHECK(base::write_new_file(secret_path, base::as_bytes(secret), 0600));
  const std::string public_file = bundle::to_public_key_file(key.public_key());
  if (Status written = base::write_new_file(public_path, base::as_bytes(public_file), 0644);
      !written) {
    ::unlink(secret_path.c_str());
    return std::move(written).error();
  }
  const std::string id = bundle::to_text(key.public_key().id);
  Outcome outcome;
  outcome.text = "key " + id + "\n" + secret_path.string() +
                 (options.no_password ? ": secret and not encrypted: keep it where nobody else "
                                        "reads it\n"
                                      : ": secret, encrypted with the password\n") +
                 public_path.string() +
                 ": public: devices and bundle-tool verify --trust take it\n";
  outcome.json = base::to_canonical(base::Json{
      {"key_id", id}, {"secret_key", secret_path.string()}, {"public_key", public_path.string()}});
  return outcome;
}

}  // namespace tool
