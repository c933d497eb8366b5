// What the commands share that look at a bundle which is there: its manifest, signatures, file
// list.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/directory.hpp"
#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "bundle/signature.hpp"
#include "bundle/trust.hpp"

namespace tool {

/// \error ErrorCode::kBundleNotFound, saying what a bundle is; kPermission, kIo
base::Result<base::UntrustedDirectory> open_bundle(const std::filesystem::path& path);

/// A manifest of which nobody has checked the signature: for people to look at, and to sign.
struct UnverifiedManifest {
  std::string bytes;
  oci::Digest digest;  // of the bytes
  bundle::Manifest manifest;
};

/// \error ErrorCode::kBundleLayout without manifest.json; those of bundle::parse_manifest()
base::Result<UnverifiedManifest> read_unverified_manifest(
    const base::UntrustedDirectory& directory);

/// What it installs, in a few words: "release 0af3..., balenaOS 6.6.0 for raspberrypi4-64".
std::string payload_text(const bundle::Manifest& manifest);

struct SignatureFile {
  std::string name;
  std::string content;
  std::optional<bundle::Signature> signature;  // nothing: not readable as one
};

/// The signature files that are there, in order of their numbers. \error kIo, kLimitExceeded
base::Result<std::vector<SignatureFile>> read_signature_files(
    const base::UntrustedDirectory& directory);

/// Trust from what --trust was given: each a trust file, a .pub file, or a public key itself
/// ("RW..."). \error ErrorCode::kTrustInvalid, kNotFound, kIo, with the file's name
base::Result<bundle::Trust> load_trust(const std::vector<std::string>& sources);

/// One file of a bundle and what it has to be.
struct ListedFile {
  std::string path;  // relative to the bundle, such as "blobs/sha256/..."
  std::uint64_t size_bytes;
  oci::Digest digest;
};

/// Every file of the bundle, the manifest first, blobs in order of their digests.
/// \error ErrorCode::kFileAltered, kBundleLayout, kIo
base::Result<std::vector<ListedFile>> list_files(const base::UntrustedDirectory& directory,
                                                 const UnverifiedManifest& manifest,
                                                 const std::vector<SignatureFile>& signatures);

}  // namespace tool
