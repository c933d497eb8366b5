#include "bundle_check.hpp"

#include <set>

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "blob_check.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle/limits.hpp"
#include "oci/image_config.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{1} * 1024 * 1024;

void check_blob_files(const base::UntrustedDirectory& blobs, const bundle::Manifest& manifest,
                      Findings& findings) {
  for (const auto& [digest, blob] : manifest.blobs) {
    auto file = blobs.open_file(digest.hex());
    if (!file) {
      const bool missing = file.error().code() == ErrorCode::kNotFound;
      findings.add(blob_path(digest), missing ? Error(ErrorCode::kBlobMissing, "is missing")
                                              : std::move(file).error());
    } else if (file->size_bytes != blob.size_bytes) {
      findings.add(
          blob_path(digest),
          Error(ErrorCode::kBlobSize, "has " + std::to_string(file->size_bytes) +
                                          " bytes instead of " + std::to_string(blob.size_bytes)));
    }
  }
}

/// What is in `directory` besides `expected`, litter of operating systems aside.
void check_unlisted(const base::UntrustedDirectory& directory, const std::string& prefix,
                    const std::set<std::string>& expected, Findings& findings) {
  const auto entries = directory.list(bundle::kMaxDirectoryEntries);
  if (!entries) {
    findings.add(prefix, entries.error());
    return;
  }
  for (const base::DirectoryEntry& entry : *entries) {
    if (expected.count(entry.name) == 0 && !bundle::is_litter(entry.name)) {
      findings.add(prefix + base::printable(entry.name),
                   Error(ErrorCode::kBlobUnlisted, "is not listed in the manifest"));
    }
  }
}

/// A document of an image, or nothing if its blob has findings or is unreadable.
std::optional<std::string> document(bundle::ChunkProvider& chunks, const bundle::Manifest& manifest,
                                    const oci::Digest& digest, Findings& findings) {
  const auto blob = manifest.blobs.find(digest);
  if (blob == manifest.blobs.end() || findings.concerns(blob_path(digest))) {
    return std::nullopt;  // the first is an error of parse_manifest(), the second is known
  }
  auto text = bundle::read_small_blob(chunks, blob->second, oci::kMaxImageDocumentBytes);
  if (!text) {
    findings.add(blob_path(digest), std::move(text).error());
    return std::nullopt;
  }
  return *std::move(text);
}

std::optional<std::string> config_difference(const oci::ImageConfig& config,
                                             const bundle::Image& image) {
  std::vector<oci::Digest> diff_ids;
  for (const bundle::Layer& layer : image.layers) {
    diff_ids.push_back(layer.diff_id);
  }
  if (config.diff_ids != diff_ids) {
    return "its layers (diff IDs) are not those of the manifest";
  }
  if (config.architecture != image.architecture || config.os != image.os ||
      config.variant != image.variant) {
    return "its platform is not that of the manifest";
  }
  return std::nullopt;
}

std::optional<std::string> oci_difference(const oci::ImageManifest& oci_manifest,
                                          const bundle::Image& image,
                                          const bundle::Manifest& manifest) {
  if (oci_manifest.config.digest != image.id) {
    return "names another configuration than the manifest";
  }
  if (oci_manifest.layers.size() != image.layers.size()) {
    return "has another number of layers than the manifest";
  }
  for (std::size_t i = 0; i < image.layers.size(); ++i) {
    const bundle::Layer& layer = image.layers[i];
    const auto blob = manifest.blobs.find(layer.blob);
    if (oci_manifest.layers[i].digest != layer.blob || blob == manifest.blobs.end() ||
        oci_manifest.layers[i].size_bytes != blob->second.size_bytes) {
      return "its layer " + std::to_string(i + 1) + " is not the one of the manifest";
    }
    if (blob->second.uncompressed_digest != layer.diff_id) {
      return "its layer " + std::to_string(i + 1) + " has another diff ID than its blob";
    }
  }
  return std::nullopt;
}

Result<std::set<std::string>> manifests_in_index(const base::UntrustedDirectory& directory) {
  OU_TRY(const base::OpenedFile file, directory.open_file("index.json"));
  OU_TRY(const base::Bytes bytes, base::read_to_end(file.fd.get(), kMaxIndexBytes));
  OU_TRY(const base::Json index,
         base::parse_json(base::as_text(bytes), {.max_bytes = kMaxIndexBytes}));
  std::set<std::string> digests;
  if (index.is_object() && index.contains("manifests") && index["manifests"].is_array()) {
    for (const base::Json& entry : index["manifests"]) {
      if (entry.is_object() && entry.contains("digest") && entry["digest"].is_string()) {
        digests.insert(entry["digest"].get<std::string>());
      }
    }
  }
  return digests;
}

}  // namespace

void check_files(const base::UntrustedDirectory& directory, const bundle::Manifest& manifest,
                 Findings& findings) {
  std::set<std::string> top = {"blobs", std::string(bundle::kManifestName)};
  for (std::size_t i = 0; i < bundle::kMaxSignatures; ++i) {
    top.insert(bundle::signature_file_name(i));
  }
  for (const auto& [name, digest] : manifest.files) {
    top.insert(name);
    auto file = directory.open_file(name);
    auto bytes = file ? base::read_to_end(file->fd.get(), kMaxIndexBytes)
                      : base::Result<base::Bytes>(file.error());
    if (!bytes) {
      findings.add(name, std::move(bytes).error());
    } else if (oci::Digest::of(*bytes) != digest) {
      findings.add(name, Error(ErrorCode::kFileAltered, "is not what the manifest says"));
    }
  }
  check_unlisted(directory, "", top, findings);
  const auto blobs_parent = directory.open_directory("blobs");
  const auto blobs = directory.open_directory("blobs/sha256");
  if (!blobs_parent || !blobs) {
    findings.add("blobs/sha256", Error(ErrorCode::kBundleLayout, "is missing or no directory"));
    return;
  }
  check_unlisted(*blobs_parent, "blobs/", {"sha256"}, findings);
  std::set<std::string> names;
  for (const auto& [digest, blob] : manifest.blobs) {
    names.insert(digest.hex());
  }
  check_unlisted(*blobs, "blobs/sha256/", names, findings);
  check_blob_files(*blobs, manifest, findings);
  // The device's own check has the last word.
  if (auto layout = bundle::check_layout(directory, manifest); !layout && findings.count() == 0) {
    findings.add("", std::move(layout).error());
  }
}

void check_oci_documents(const base::UntrustedDirectory& directory, bundle::ChunkProvider& chunks,
                         const bundle::Manifest& manifest, Findings& findings) {
  std::set<std::string> expected;
  for (const bundle::Image& image : manifest.images) {
    expected.insert(image.manifest.text());
    if (const auto text = document(chunks, manifest, image.id, findings)) {
      const auto config = oci::parse_image_config(*text);
      const auto difference =
          config ? config_difference(*config, image) : std::optional(config.error().message());
      if (difference) {
        findings.add(blob_path(image.id), Error(ErrorCode::kBundleLayout, *difference));
      }
    }
    if (const auto text = document(chunks, manifest, image.manifest, findings)) {
      const auto oci_manifest = oci::parse_image_manifest(*text);
      const auto difference = oci_manifest ? oci_difference(*oci_manifest, image, manifest)
                                           : std::optional(oci_manifest.error().message());
      if (difference) {
        findings.add(blob_path(image.manifest), Error(ErrorCode::kBundleLayout, *difference));
      }
    }
  }
  if (findings.concerns("index.json")) {
    return;
  }
  auto listed = manifests_in_index(directory);
  if (!listed) {
    findings.add("index.json", std::move(listed).error());
  } else if (*listed != expected) {
    findings.add("index.json",
                 Error(ErrorCode::kBundleLayout, "does not list the images of the manifest"));
  }
}

}  // namespace tool
