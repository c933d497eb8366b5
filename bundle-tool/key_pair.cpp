#include "key_pair.hpp"

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

Status check_absent(const fs::path& path) {
  std::error_code ignored;  // creating the file tells
  if (fs::exists(fs::symlink_status(path, ignored))) {
    return Error(
        ErrorCode::kAlreadyExists,
        path.string() + " is there already, and a key is never overwritten: choose another name");
  }
  return base::ok();
}

}  // namespace

Result<Outcome> make_key_pair(
    const KeyPairOptions& options,
    const std::function<Result<KeyPair>(const std::optional<std::string>& password)>& make) {
  OU_CHECK(check_absent(options.secret_path));
  OU_CHECK(check_absent(options.public_path));
  std::optional<std::string> password;
  if (!options.no_password) {
    OU_TRY(password, choose_password(options.password_file));
  }
  OU_TRY(const KeyPair pair, make(password));
  OU_CHECK(base::write_new_file(options.secret_path, base::as_bytes(pair.secret_file), 0600));
  if (Status written =
          base::write_new_file(options.public_path, base::as_bytes(pair.public_file), 0644);
      !written) {
    ::unlink(options.secret_path.c_str());
    return std::move(written).error();
  }
  Outcome outcome;
  outcome.text = "key " + pair.id + "\n" + options.secret_path.string() +
                 (options.no_password ? ": secret and not encrypted: keep it where nobody else "
                                        "reads it\n"
                                      : ": secret, encrypted with the password\n") +
                 options.public_path.string() + ": public: " + options.public_use + "\n";
  outcome.json = base::to_canonical(base::Json{{"key_id", pair.id},
                                               {"secret_key", options.secret_path.string()},
                                               {"public_key", options.public_path.string()}});
  return outcome;
}

}  // namespace tool
