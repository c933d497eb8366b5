// From a directory that could hold anything to a manifest that is known to be signed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/directory.hpp"
#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "bundle/trust.hpp"

namespace bundle {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kSignatureSuffix = ".minisig";

/// The name of the signature file number `index` (0 is the one that minisign looks for):
/// manifest.json.minisig, then manifest.json.1.minisig, ...
std::string signature_file_name(std::size_t index);

/// Whether operating systems leave such files behind: names that start with a dot, and FAT's own
/// ("System Volume Information", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini").
bool is_litter(std::string_view name);

/// A manifest whose raw bytes were signed by enough trusted keys. Made only by open_manifest().
class AuthenticManifest {
 public:
  [[nodiscard]] const Manifest& manifest() const { return manifest_; }
  /// SHA-256 of the raw bytes of manifest.json: the identity of a bundle, on whatever medium.
  [[nodiscard]] const oci::Digest& digest() const { return digest_; }
  [[nodiscard]] const std::vector<TrustedKey>& signers() const { return signers_; }
  /// The bytes that were verified, for a copy: the medium may say something else by now.
  [[nodiscard]] const base::Bytes& raw() const { return raw_; }
  /// The signatures of signers(), as they were verified.
  [[nodiscard]] const std::vector<NamedSignature>& signatures() const { return signatures_; }

 private:
  AuthenticManifest(Manifest manifest, base::Bytes raw, std::vector<TrustedKey> signers,
                    std::vector<NamedSignature> signatures)
      : manifest_(std::move(manifest)),
        digest_(oci::Digest::of(raw)),
        signers_(std::move(signers)),
        raw_(std::move(raw)),
        signatures_(std::move(signatures)) {}
  friend base::Result<AuthenticManifest> open_manifest(const base::UntrustedDirectory& directory,
                                                       const Trust& trust);
  Manifest manifest_;
  oci::Digest digest_;
  std::vector<TrustedKey> signers_;
  base::Bytes raw_;
  std::vector<NamedSignature> signatures_;
};

/// Reads manifest.json once and its signatures, verifies, and only then parses.
/// \error ErrorCode::kBundleLayout without manifest.json; kManifestTooLarge; those of
///   verify_signatures() and parse_manifest(); kMediumUnsafeEntry; kIo
base::Result<AuthenticManifest> open_manifest(const base::UntrustedDirectory& directory,
                                              const Trust& trust);

/// The files beside the blobs (Manifest::files) by name.
using ListedFiles = std::map<std::string, base::Bytes>;

/// Checks that the directory holds what the manifest lists, each file with its size, and nothing
/// else (litter aside), and the content of the files of Manifest::files. Blobs are not read.
/// \return those files as they were verified, so that nobody has to read them a second time
/// \error ErrorCode::kBlobMissing, kBlobSize, kBlobUnlisted, kFileAltered, kBundleLayout,
///   kMediumUnsafeEntry, kLimitExceeded, kIo
base::Result<ListedFiles> check_layout(const base::UntrustedDirectory& directory,
                                       const Manifest& manifest);

}  // namespace bundle
