// A bundle whose manifest is signed and whose directory holds what the manifest lists.
#pragma once

#include <string>

#include "base/directory.hpp"
#include "base/result.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle/trust.hpp"

namespace agent::intake {

/// Made only by open_bundle(): whoever holds one holds a signed manifest.
class VerifiedBundle {
 public:
  [[nodiscard]] const bundle::Manifest& manifest() const { return manifest_.manifest(); }
  [[nodiscard]] const oci::Digest& digest() const { return manifest_.digest(); }
  [[nodiscard]] const std::vector<bundle::TrustedKey>& signers() const {
    return manifest_.signers();
  }
  /// manifest.json and its signatures as they were verified, for a copy.
  [[nodiscard]] const bundle::AuthenticManifest& authentic() const { return manifest_; }
  /// The files beside the blobs as they were verified, for a copy too.
  [[nodiscard]] const bundle::ListedFiles& files() const { return files_; }
  /// The directory's name on its medium, printable; for messages only.
  [[nodiscard]] const std::string& directory_name() const { return name_; }
  /// The bundle's directory on the medium that it was opened from.
  [[nodiscard]] const base::UntrustedDirectory& directory() const { return directory_; }

 private:
  VerifiedBundle(bundle::AuthenticManifest manifest, bundle::ListedFiles files, std::string name,
                 base::UntrustedDirectory directory)
      : manifest_(std::move(manifest)),
        files_(std::move(files)),
        name_(std::move(name)),
        directory_(std::move(directory)) {}
  friend base::Result<VerifiedBundle> open_bundle(base::UntrustedDirectory directory,
                                                  const std::string& name,
                                                  const bundle::Trust& trust);
  bundle::AuthenticManifest manifest_;
  bundle::ListedFiles files_;
  std::string name_;
  base::UntrustedDirectory directory_;
};

/// Verifies signatures, parses, and checks the layout. Payload is not read: each chunk of it is
/// verified when it is used.
/// \error those of bundle::open_manifest() and bundle::check_layout()
base::Result<VerifiedBundle> open_bundle(base::UntrustedDirectory directory,
                                         const std::string& name, const bundle::Trust& trust);

/// Reads the device's trust file. \error ErrorCode::kTrustInvalid, also when there is none
base::Result<bundle::Trust> load_trust(const std::filesystem::path& file);

}  // namespace agent::intake
