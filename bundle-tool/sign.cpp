#include "sign.hpp"

#include <set>

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle/limits.hpp"
#include "bundle_files.hpp"
#include "signing_keys.hpp"

namespace tool {

using base::Error;
using base::ErrorCode;
using base::Result;

Result<Outcome> sign(const SignOptions& options) {
  const std::string shown = options.bundle.string();
  OU_TRY(const auto directory, open_bundle(options.bundle));
  OU_TRY(const UnverifiedManifest manifest, read_unverified_manifest(directory).within(shown));
  OU_TRY(const auto signatures, read_signature_files(directory).within(shown));
  OU_TRY(const auto keys, load_secret_keys(options.sign_keys, options.password_file));

  std::set<std::string> taken;
  for (const SignatureFile& file : signatures) {
    taken.insert(file.name);
    for (const bundle::SecretKey& key : keys) {
      if (file.signature && file.signature->key_id == key.public_key().id) {
        return Error(ErrorCode::kAlreadyExists,
                     "key " + bundle::to_text(key.public_key().id) + " has signed " + shown +
                         " already (" + file.name + "); a second signature by it counts nothing");
      }
    }
  }
  if (taken.size() + keys.size() > bundle::kMaxSignatures) {
    return Error(
        ErrorCode::kLimitExceeded,
        "a bundle holds at most " + std::to_string(bundle::kMaxSignatures) + " signatures");
  }

  Outcome outcome;
  base::Json added = base::Json::array();
  const bundle::Manifest& content = manifest.manifest;
  outcome.text = shown + ": signed " + base::printable(content.name) + ", sequence " +
                 std::to_string(content.sequence) + ", fleet " +
                 base::printable(content.targets.fleet_uuid) + ", " + payload_text(content) + "\n";
  for (const bundle::SecretKey& key : keys) {
    std::size_t index = 0;
    while (taken.count(bundle::signature_file_name(index)) > 0) {
      ++index;
    }
    const std::string name = bundle::signature_file_name(index);
    const std::string signature =
        key.sign(base::as_bytes(manifest.bytes), signature_comment(content));
    OU_CHECK(base::write_file_durably(options.bundle / name, base::as_bytes(signature), 0644));
    taken.insert(name);
    const std::string id = bundle::to_text(key.public_key().id);
    added.push_back({{"file", name}, {"key_id", id}});
    outcome.text += name + ": key " + id + "\n";
  }
  outcome.json = base::to_canonical(base::Json{
      {"bundle", shown}, {"manifest_digest", manifest.digest.text()}, {"added", std::move(added)}});
  return outcome;
}

}  // namespace tool
