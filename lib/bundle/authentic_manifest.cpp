#include "bundle/authentic_manifest.hpp"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/files.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"

namespace bundle {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxIndexBytes = std::size_t{1024} * 1024;
constexpr const char* kBlobsDirectory = "blobs";
constexpr const char* kAlgorithm = "sha256";

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

base::Result<base::Bytes> read_bounded(const base::UntrustedDirectory& directory,
                                       const std::string& name, std::size_t limit,
                                       ErrorCode too_large) {
  OU_TRY(const auto file, directory.open_file(name));
  auto bytes = base::read_to_end(file.fd.get(), limit);
  if (!bytes && bytes.error().code() == ErrorCode::kLimitExceeded) {
    return std::move(bytes).error().within(name).as(too_large);
  }
  return std::move(bytes).within("read " + name);
}

base::Result<std::vector<NamedSignature>> read_signatures(
    const base::UntrustedDirectory& directory) {
  std::vector<NamedSignature> signatures;
  for (std::size_t i = 0; i < kMaxSignatures; ++i) {
    auto name = signature_file_name(i);
    auto bytes = read_bounded(directory, name, kMaxSignatureBytes, ErrorCode::kSignatureMalformed);
    if (!bytes && bytes.error().code() == ErrorCode::kNotFound) {
      break;
    }
    if (!bytes) {
      return std::move(bytes).error();
    }
    signatures.push_back({std::move(name), std::string(base::as_text(*bytes))});
  }
  return signatures;
}

std::set<std::string> expected_names(const Manifest& manifest) {
  std::set<std::string> names{std::string(kManifestName), kBlobsDirectory};
  for (std::size_t i = 0; i < kMaxSignatures; ++i) {
    names.insert(signature_file_name(i));
  }
  for (const auto& [name, digest] : manifest.files) {
    names.insert(name);
  }
  return names;
}

/// Every entry is expected, or litter that some operating system left.
base::Status check_entries(const base::UntrustedDirectory& directory,
                           const std::set<std::string>& expected, const std::string& where) {
  OU_TRY(const auto entries, directory.list(kMaxDirectoryEntries));
  for (const auto& entry : entries) {
    if (expected.contains(entry.name) || is_litter(entry.name)) {
      continue;
    }
    return Error(ErrorCode::kBlobUnlisted,
                 where + base::printable(entry.name) + " is not part of the bundle: remove it");
  }
  return base::ok();
}

base::Result<ListedFiles> read_files(const base::UntrustedDirectory& directory,
                                     const Manifest& manifest) {
  ListedFiles files;
  for (const auto& [name, digest] : manifest.files) {
    auto bytes = read_bounded(directory, name, kMaxIndexBytes, ErrorCode::kFileAltered);
    if (!bytes && bytes.error().code() == ErrorCode::kNotFound) {
      return std::move(bytes).error().as(ErrorCode::kBundleLayout);
    }
    if (!bytes) {
      return std::move(bytes).error();
    }
    if (oci::Digest::of(*bytes) != digest) {
      return Error(ErrorCode::kFileAltered, name + " was altered after the bundle was made");
    }
    files.emplace(name, *std::move(bytes));
  }
  return files;
}

base::Status check_blob_file(const base::UntrustedDirectory& blobs, const Blob& blob) {
  const auto file = blobs.open_file(blob.digest.hex());
  if (!file && file.error().code() == ErrorCode::kNotFound) {
    return Error(ErrorCode::kBlobMissing, "blob " + blob.digest.text() + " is missing");
  }
  if (!file) {
    return file.error();
  }
  if (file->size_bytes != blob.size_bytes) {
    return Error(ErrorCode::kBlobSize, "blob " + blob.digest.text() + " has " +
                                           std::to_string(file->size_bytes) + " bytes instead of " +
                                           std::to_string(blob.size_bytes));
  }
  return base::ok();
}

}  // namespace

std::string signature_file_name(std::size_t index) {
  return std::string(kManifestName) + (index == 0 ? "" : "." + std::to_string(index)) +
         std::string(kSignatureSuffix);
}

bool is_litter(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames{"System Volume Information", "$RECYCLE.BIN",
                                                   "Thumbs.db", "desktop.ini"};
  return name.starts_with('.') || std::any_of(kNames.begin(), kNames.end(), [&](auto litter) {
           return equal_ignoring_case(name, litter);
         });
}

base::Result<AuthenticManifest> open_manifest(const base::UntrustedDirectory& directory,
                                              const Trust& trust) {
  const std::string name(kManifestName);
  auto bytes = read_bounded(directory, name, kMaxManifestBytes, ErrorCode::kManifestTooLarge);
  if (!bytes && bytes.error().code() == ErrorCode::kNotFound) {
    return Error(ErrorCode::kBundleLayout, "there is no manifest.json: not a bundle");
  }
  if (!bytes) {
    return std::move(bytes).error();
  }
  OU_TRY(auto signatures, read_signatures(directory));
  OU_TRY(auto signers, verify_signatures(*bytes, signatures, trust));
  OU_TRY(auto manifest, parse_manifest(base::as_text(*bytes)).within(name));
  // What no trusted key has signed says nothing here, and is not copied.
  // As many signers as signatures: all of them count, and need not be verified again.
  if (signatures.size() > signers.size()) {
    std::erase_if(signatures, [&](const auto& signature) {
      return !verify_signatures(*bytes, {signature}, {trust.keys, 1});
    });
  }
  return AuthenticManifest(std::move(manifest), *std::move(bytes), std::move(signers),
                           std::move(signatures));
}

base::Result<ListedFiles> check_layout(const base::UntrustedDirectory& directory,
                                       const Manifest& manifest) {
  OU_CHECK(check_entries(directory, expected_names(manifest), ""));
  OU_TRY(ListedFiles files, read_files(directory, manifest));
  const auto below_blobs = directory.open_directory(kBlobsDirectory);
  const auto blobs = below_blobs ? below_blobs->open_directory(kAlgorithm) : below_blobs.error();
  if (!blobs) {
    auto error = base::Error(blobs.error());
    return error.code() == ErrorCode::kNotFound ? std::move(error).as(ErrorCode::kBlobMissing)
                                                : std::move(error);
  }
  OU_CHECK(check_entries(*below_blobs, {kAlgorithm}, "blobs/"));
  std::set<std::string> names;
  for (const auto& [digest, blob] : manifest.blobs) {
    OU_CHECK(check_blob_file(*blobs, blob));
    names.insert(digest.hex());
  }
  OU_CHECK(check_entries(*blobs, names, "blobs/sha256/"));
  return files;
}

}  // namespace bundle
