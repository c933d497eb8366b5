#include "bundle_files.hpp"

#include "base/files.hpp"
#include "base/printable.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle/limits.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::uint64_t kMaxSmallFileBytes = std::uint64_t{1} * 1024 * 1024;  // index.json

Result<std::string> read_text(const base::UntrustedDirectory& directory, const std::string& name,
                              std::uint64_t limit_bytes) {
  OU_TRY(const base::OpenedFile file, directory.open_file(name).within(name));
  OU_TRY(const base::Bytes bytes, base::read_to_end(file.fd.get(), limit_bytes).within(name));
  return std::string(base::as_text(bytes));
}

}  // namespace

Result<base::UntrustedDirectory> open_bundle(const std::filesystem::path& path) {
  auto directory = base::UntrustedDirectory::open(path);
  if (!directory && (directory.error().code() == ErrorCode::kNotFound ||
                     directory.error().code() == ErrorCode::kMediumUnsafeEntry)) {
    return Error(ErrorCode::kBundleNotFound,
                 base::printable(path.string()) +
                     " is no bundle: a bundle is a directory, usually NAME.bundle, that holds "
                     "manifest.json");
  }
  return directory;
}

Result<UnverifiedManifest> read_unverified_manifest(const base::UntrustedDirectory& directory) {
  auto bytes = read_text(directory, std::string(bundle::kManifestName), bundle::kMaxManifestBytes);
  if (!bytes && bytes.error().code() == ErrorCode::kNotFound) {
    return Error(ErrorCode::kBundleLayout, "holds no manifest.json, so it is no bundle");
  }
  if (!bytes && bytes.error().code() == ErrorCode::kLimitExceeded) {
    return std::move(bytes).error().as(ErrorCode::kManifestTooLarge);
  }
  if (!bytes) {
    return std::move(bytes).error();
  }
  OU_TRY(bundle::Manifest manifest, bundle::parse_manifest(*bytes).within("manifest.json"));
  const oci::Digest digest = oci::Digest::of(base::as_bytes(*bytes));
  return UnverifiedManifest{*std::move(bytes), digest, std::move(manifest)};
}

Result<std::vector<SignatureFile>> read_signature_files(const base::UntrustedDirectory& directory) {
  std::vector<SignatureFile> files;
  for (std::size_t i = 0; i < bundle::kMaxSignatures; ++i) {
    const std::string name = bundle::signature_file_name(i);
    auto content = read_text(directory, name, bundle::kMaxSignatureBytes);
    if (!content && content.error().code() == ErrorCode::kNotFound) {
      continue;
    }
    if (!content) {
      return std::move(content).error();
    }
    SignatureFile file{name, *std::move(content), std::nullopt};
    if (auto signature = bundle::parse_signature(file.content)) {
      file.signature = *std::move(signature);
    }
    files.push_back(std::move(file));
  }
  return files;
}

Result<bundle::Trust> load_trust(const std::vector<std::string>& sources) {
  std::vector<bundle::Trust> trusts;
  for (const std::string& source : sources) {
    if (source.starts_with("RW") && !std::filesystem::exists(source)) {
      OU_TRY(const bundle::PublicKey key, bundle::parse_public_key(source).within("--trust"));
      trusts.push_back(bundle::Trust{{{key, ""}}, 1});
      continue;
    }
    const std::string doing = "trust file " + source;
    OU_TRY(const base::Bytes bytes,
           base::read_file(source, bundle::kMaxTrustFileBytes).within(doing));
    OU_TRY(bundle::Trust trust, bundle::parse_trust(base::as_text(bytes)).within(doing));
    trusts.push_back(std::move(trust));
  }
  return bundle::merge(trusts);
}

Result<std::vector<ListedFile>> list_files(const base::UntrustedDirectory& directory,
                                           const UnverifiedManifest& manifest,
                                           const std::vector<SignatureFile>& signatures) {
  std::vector<ListedFile> files;
  files.push_back({std::string(bundle::kManifestName), manifest.bytes.size(), manifest.digest});
  for (const SignatureFile& signature : signatures) {
    files.push_back({signature.name, signature.content.size(),
                     oci::Digest::of(base::as_bytes(signature.content))});
  }
  for (const auto& [name, digest] : manifest.manifest.files) {
    OU_TRY(const std::string content, read_text(directory, name, kMaxSmallFileBytes));
    files.push_back({name, content.size(), digest});
  }
  for (const auto& [digest, blob] : manifest.manifest.blobs) {
    files.push_back({"blobs/sha256/" + digest.hex(), blob.size_bytes, digest});
  }
  return files;
}

std::string payload_text(const bundle::Manifest& manifest) {
  std::string text;
  const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (manifest.has_release()) {
    add("release " + base::printable(manifest.release.commit));
  }
  if (manifest.os) {
    add("balenaOS " + base::printable(manifest.os->version) + " for " +
        base::printable(manifest.os->device_type));
  }
  if (manifest.supervisor) {
    add("supervisor " + base::printable(manifest.supervisor->version));
  }
  if (!manifest.config.empty()) {
    add("changes of the configuration");
  }
  return text;
}

}  // namespace tool
