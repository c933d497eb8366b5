#include "identity.hpp"

#include <sys/stat.h>

#include <cerrno>

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/sealed_identity.hpp"
#include "bundle/timestamp.hpp"
#include "key_pair.hpp"
#include "signing_keys.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

Status make_directory(const fs::path& path) {
  return ::mkdir(path.c_str(), 0700) == 0
             ? base::ok()
             : Status(Error::from_errno(errno, "create " + path.string()));
}

/// Nothing in the directory may lead elsewhere, so it is a new one.
Status write_files(const bundle::IdentityExport& identity, const fs::path& output) {
  std::error_code ignored;  // making it tells
  if (fs::exists(fs::symlink_status(output, ignored))) {
    return Error(ErrorCode::kAlreadyExists, output.string() + " is there already");
  }
  OU_CHECK(make_directory(output));
  for (const auto& [path, content] : identity.files) {
    fs::path directory = output;
    for (const auto& part : fs::path(path).parent_path()) {
      directory /= part;
      if (!fs::exists(directory, ignored)) {
        OU_CHECK(make_directory(directory));
      }
    }
    OU_CHECK(base::write_new_file(output / path, base::as_bytes(content)));
  }
  if (!identity.machine_id.empty()) {
    OU_CHECK(
        base::write_new_file(output / "machine-id", base::as_bytes(identity.machine_id + "\n")));
  }
  return base::ok();
}

/// For people; numbers of config.json may be strings.
std::string member(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) {
    return "not known";
  }
  return base::printable(found->is_string() ? found->get<std::string>()
                                            : base::to_canonical(*found));
}

std::string text_of(const bundle::IdentityExport& identity, const Json& config,
                    const IdentityOpenOptions& options) {
  std::string text =
      "uuid         " + member(config, "uuid") + "\ndevice type  " + member(config, "deviceType") +
      "\napplication  " + member(config, "applicationId") + "\nmachine-id   " +
      (identity.machine_id.empty() ? "not known" : base::printable(identity.machine_id)) +
      "\nmade         " + bundle::format_timestamp(identity.created_at) + "\n";
  for (const auto& [path, content] : identity.files) {
    text += "  " + std::to_string(content.size()) + " bytes  " + base::printable(path) + "\n";
  }
  return text + (options.output.empty()
                     ? "Pass --output DIRECTORY to write these files, which hold secrets.\n"
                     : "Written to " + options.output.string() + "; the files hold secrets.\n");
}

Json json_of(const bundle::IdentityExport& identity, const Json& config) {
  auto files = Json::object();
  for (const auto& [path, content] : identity.files) {
    files[path] = base::to_base64(base::as_bytes(content));
  }
  return {{"created_at", identity.created_at},
          {"machine_id", identity.machine_id},
          {"config", config},
          {"files", std::move(files)}};
}

}  // namespace

Result<Outcome> identity_keygen(const IdentityKeygenOptions& options) {
  if (options.output.extension() != ".key") {
    return Error(ErrorCode::kUsage, "--output has to end in .key, such as owner-identity.key");
  }
  fs::path public_path = options.output;
  public_path.replace_extension(".pub");
  return make_key_pair({.secret_path = options.output,
                        .public_path = std::move(public_path),
                        .no_password = options.no_password,
                        .password_file = options.password_file,
                        .public_use = "offline-updater-agent identity export --to takes it"},
                       [](const auto& password) -> Result<KeyPair> {
                         OU_TRY(const auto key, bundle::BoxSecretKey::generate());
                         OU_TRY(std::string secret, key.to_file(password));
                         const auto public_key = key.public_key();
                         return KeyPair{public_key.id(), std::move(secret),
                                        bundle::to_box_public_key_file(public_key)};
                       });
}

Result<Outcome> identity_open(const IdentityOpenOptions& options) {
  const std::string shown = options.file.string();
  OU_TRY(const auto file,
         base::read_file(options.file, bundle::kMaxIdentityExportBytes).within(shown));
  OU_TRY(const auto key, load_box_secret_key(options.key, options.password_file));
  OU_TRY(const auto identity, key.open(file).within(shown));
  const auto config = base::parse_json(identity.files.at("config.json"),
                                       {.max_bytes = bundle::kMaxIdentityExportBytes});
  if (!config || !config->is_object()) {
    return Error(ErrorCode::kFileAltered, shown + ": its config.json is no JSON object");
  }
  if (!options.output.empty()) {
    OU_CHECK(write_files(identity, options.output));
  }
  Outcome outcome;
  outcome.text = text_of(identity, *config, options);
  outcome.json = base::to_canonical(json_of(identity, *config));
  return outcome;
}

}  // namespace tool
