#include "bundle/manifest_check.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "oci/image_config.hpp"

namespace bundle {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::string_view kLowerCase = "abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kDigits = "0123456789";

bool consists_of(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

bool is_hex(std::string_view text, std::initializer_list<std::size_t> lengths) {
  return consists_of(text, kHex) &&
         std::find(lengths.begin(), lengths.end(), text.size()) != lengths.end();
}

/// A name that ends up in container and volume names: letters, digits, '_', '.', '-', not first.
bool is_name(std::string_view text) {
  const std::string alphanumeric = std::string(kLetters) + std::string(kDigits);
  return text.size() <= kMaxNameBytes && consists_of(text, alphanumeric + "_.-") &&
         alphanumeric.find(text[0]) != std::string::npos;
}

bool is_variable_name(std::string_view text) {
  const std::string first = std::string(kLetters) + "_";
  return text.size() <= kMaxNameBytes && consists_of(text, first + std::string(kDigits)) &&
         first.find(text[0]) != std::string::npos;
}

/// "0b5f6d0e-3a4c-5d1b-9a77-2f8f3e1c9d42"
bool is_uuid(std::string_view text) {
  constexpr std::string_view kForm = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  return std::equal(text.begin(), text.end(), kForm.begin(), kForm.end(), [](char c, char form) {
    return form == '-' ? c == '-' : kHex.find(c) != std::string_view::npos;
  });
}

/// What stands before the digest: the name that the image gets on the device.
std::string_view repository_of(std::string_view reference) {
  return reference.substr(0, reference.find('@'));
}

/// "<registry>/<path>@sha256:<64 digits>". Only the registry may have a colon, before its port: the
/// supervisor drops a tag beside a digest, and then looks for another name than the one written.
/// \source distribution/reference: the grammar of repository names
bool is_image_reference(std::string_view text) {
  const auto name = repository_of(text);
  const auto slash = name.find('/');
  if (name.size() == text.size() || slash == std::string_view::npos ||
      !oci::Digest::parse(text.substr(name.size() + 1))) {
    return false;
  }
  const auto path = name.substr(slash);
  return consists_of(name.substr(0, slash),
                     std::string(kLetters) + std::string(kDigits) + "._-:") &&
         consists_of(path, std::string(kLowerCase) + std::string(kDigits) + "._-/") &&
         path.find("//") == std::string_view::npos && !path.ends_with('/');
}

Error field(const std::string& name, const std::string& what) {
  return Error(ErrorCode::kManifestField, name + " " + what);
}

base::Status check_targets(const Targets& targets) {
  if (!is_hex(targets.fleet_uuid, {32})) {
    return field("targets.fleet", "must be 32 lower-case hexadecimal digits");
  }
  if (targets.device_types.empty() ||
      !std::all_of(targets.device_types.begin(), targets.device_types.end(), is_name)) {
    return field("targets.device_types", "must list at least one device type, by its slug");
  }
  const auto is_device = [](const auto& uuid) { return is_hex(uuid, {32, 62}); };
  if (!std::all_of(targets.device_uuids.begin(), targets.device_uuids.end(), is_device)) {
    return field("targets.device_uuids", "must hold 32 or 62 lower-case hexadecimal digits each");
  }
  return base::ok();
}

/// The text is one JSON object; the writer gets it from other programs' files.
base::Result<base::Json> read_object(const std::string& text, const std::string& where) {
  auto json = base::Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return field(where, "must be an object");
  }
  return json;
}

/// Volumes and networks become names in the engine, so theirs are as narrow as those of services.
base::Status check_definitions(const std::string& text, const std::string& where) {
  OU_TRY(const auto definitions, read_object(text, where));
  for (const auto& [name, definition] : definitions.items()) {
    if (!is_name(name) || !definition.is_object()) {
      return field(where + "." + base::printable(name, 64),
                   "must be an object under a name of letters, digits, '_', '.', '-'");
    }
  }
  return base::ok();
}

base::Status check_service(const Service& service) {
  const auto where = "release.services." + base::printable(service.name, 64);
  if (!is_name(service.name)) {
    return field(where, "has a name with characters other than letters, digits, '_', '.', '-'");
  }
  if (!is_image_reference(service.image_reference)) {
    return field(where + ".image", "must be REGISTRY/PATH@sha256:DIGEST");
  }
  for (const auto& [name, value] : service.environment) {
    if (!is_variable_name(name)) {
      return field(where + ".environment",
                   "has the name \"" + base::printable(name, 64) + "\": no variable name");
    }
  }
  for (const auto& [name, value] : service.labels) {
    if (name.empty() || name.size() > kMaxNameBytes) {
      return field(where + ".labels", "has a name that is empty or too long");
    }
  }
  OU_TRY(const auto composition, read_object(service.composition_json, where + ".composition"));
  if (service.contract_json) {
    OU_TRY(const auto contract, read_object(*service.contract_json, where + ".contract"));
  }
  return base::ok();
}

/// One name on the device can only mean one image.
base::Status check_repositories(const std::vector<Service>& services) {
  std::map<std::string_view, oci::Digest> images;
  for (const auto& service : services) {
    const auto name = repository_of(service.image_reference);
    if (const auto known = images.emplace(name, service.image);
        known.first->second != service.image) {
      return field("release.services." + service.name + ".image",
                   "has the name " + base::printable(name) +
                       ", under which another service has another image: give each its own");
    }
  }
  return base::ok();
}

base::Status check_chunks(const Blob& blob) {
  const auto& table = blob.chunks;
  const auto bad = [&blob](const std::string& what) {
    return Error(ErrorCode::kChunkTable, "chunk table of blob " + blob.digest.text() + ": " + what);
  };
  if (table.size_bytes < kMinChunkBytes || table.size_bytes > kMaxChunkBytes) {
    return bad("chunks have to be from 64 KiB to 4 MiB");
  }
  if (table.hashes.size() != chunk_count(blob)) {
    return bad("it has " + std::to_string(table.hashes.size()) + " hashes for " +
               std::to_string(chunk_count(blob)) + " chunks");
  }
  if (table.kind == ChunkTable::Kind::kFixed) {
    return table.lengths.empty() ? base::ok() : base::Status(bad("fixed chunks have no lengths"));
  }
  if (blob.encoding != oci::Encoding::kZstd || table.lengths.size() != table.hashes.size()) {
    return bad("frames are for zstd and have a length each");
  }
  const auto total = std::accumulate(table.lengths.begin(), table.lengths.end(), std::uint64_t{0});
  // A frame of incompressible data is a little longer than what it holds.
  const auto too_long = [&](std::uint32_t length) {
    return length == 0 || length > table.size_bytes + table.size_bytes / 128 + 1024;
  };
  if (total != blob.size_bytes ||
      std::any_of(table.lengths.begin(), table.lengths.end(), too_long)) {
    return bad("the lengths do not add up to the blob's size, or one is out of range");
  }
  return base::ok();
}

base::Status check_blob(const Blob& blob) {
  if (blob.size_bytes > kMaxBlobBytes || blob.uncompressed_size_bytes > kMaxUncompressedBytes) {
    return Error(ErrorCode::kLimitExceeded, "blob " + blob.digest.text() + " is too large");
  }
  if (blob.encoding == oci::Encoding::kNone && (blob.digest != blob.uncompressed_digest ||
                                                blob.size_bytes != blob.uncompressed_size_bytes)) {
    return field("blobs." + blob.digest.text(), "is not compressed and has to say so throughout");
  }
  if (blob.uncompressed_size_bytes / kMaxExpansionRatio > blob.size_bytes) {
    return Error(ErrorCode::kBlobExpansion, "blob " + blob.digest.text() + " expands more than " +
                                                std::to_string(kMaxExpansionRatio) + " times");
  }
  return check_chunks(blob);
}

/// Marks a blob as used. \error ErrorCode::kManifestField when it is not listed
base::Result<const Blob*> use(const Manifest& manifest, const oci::Digest& digest,
                              std::set<oci::Digest>& used) {
  const auto found = manifest.blobs.find(digest);
  if (found == manifest.blobs.end()) {
    return field("blobs", "lacks " + digest.text() + ", which an image needs");
  }
  used.insert(digest);
  return &found->second;
}

base::Status check_image(const Manifest& manifest, const Image& image,
                         std::set<oci::Digest>& used) {
  for (const auto& document : {image.id, image.manifest}) {
    OU_TRY(const auto* blob, use(manifest, document, used));
    if (blob->encoding != oci::Encoding::kNone || blob->size_bytes > oci::kMaxImageDocumentBytes) {
      return field("blobs." + document.text(), "is a document: uncompressed, 4 MiB at most");
    }
  }
  if (image.layers.size() > oci::kMaxLayers) {
    return Error(ErrorCode::kLimitExceeded, "image " + image.id.text() + " has more than " +
                                                std::to_string(oci::kMaxLayers) + " layers");
  }
  for (const auto& layer : image.layers) {
    OU_TRY(const auto* blob, use(manifest, layer.blob, used));
    if (blob->uncompressed_digest != layer.diff_id) {
      return field("blobs." + layer.blob.text(), "is not the layer that the image names");
    }
    if (layer.installed_bytes > kMaxUncompressedBytes * 2 ||
        layer.installed_inodes > kMaxUncompressedBytes / 512) {
      return Error(ErrorCode::kLimitExceeded,
                   "layer " + layer.diff_id.text() + " claims to take more room than it can");
    }
  }
  return base::ok();
}

base::Status check_release(const Manifest& manifest, std::set<oci::Digest>& wanted) {
  const auto& release = manifest.release;
  if (!is_hex(release.commit, {32, 40})) {
    return field("release", "must have a commit of 32 or 40 lower-case hexadecimal digits");
  }
  if (release.services.empty()) {
    return field("release.services", "must not be empty");
  }
  for (const auto& service : release.services) {
    OU_CHECK(check_service(service));
    if (manifest.find_image(service.image) == nullptr) {
      return field("service_images." + service.name, "names an image that is not in images");
    }
    wanted.insert(service.image);
  }
  OU_CHECK(check_repositories(release.services));
  OU_CHECK(check_definitions(release.volumes_json, "release.volumes"));
  return check_definitions(release.networks_json, "release.networks");
}

/// A path below /resin-boot: no way out of it.
bool is_boot_path(std::string_view path) {
  if (path.empty() || path.size() > kMaxNameBytes || base::printable(path) != path) {
    return false;
  }
  for (std::size_t start = 0; start <= path.size();) {
    const auto slash = std::min(path.find('/', start), path.size());
    const auto part = path.substr(start, slash - start);
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
    start = slash + 1;
  }
  return true;
}

base::Status check_os(const Manifest& manifest, std::set<oci::Digest>& wanted) {
  const auto& os = *manifest.os;
  if (manifest.find_image(os.image) == nullptr) {
    return field("os.image", "names an image that is not in images");
  }
  wanted.insert(os.image);
  const auto is_version = [](std::string_view text) {
    return !text.empty() && kDigits.find(text.front()) != std::string_view::npos &&
           base::printable(text) == text;
  };
  if (!is_version(os.version) || !is_version(os.meta_version)) {
    return field("os", "must have version and meta_version, such as 6.6.0+rev1");
  }
  // An OS of another type bricks a device: one bundle has one, and no fleet-wide guess.
  if (manifest.targets.device_types != std::vector{os.device_type}) {
    return field("targets.device_types",
                 "must be exactly the type that the host OS is for: " + os.device_type);
  }
  for (const auto& [path, size] : os.boot_files) {
    if (!is_boot_path(path)) {
      return field("os.boot_files", "has the path \"" + base::printable(path, 64) + "\"");
    }
  }
  return base::ok();
}

base::Status check_supervisor(const Manifest& manifest, std::set<oci::Digest>& wanted) {
  const auto& supervisor = *manifest.supervisor;
  if (manifest.find_image(supervisor.image) == nullptr) {
    return field("supervisor.image", "names an image that is not in images");
  }
  wanted.insert(supervisor.image);
  // Without a tag: the OS's health check looks for the name alone (balenaos.md section 8).
  if (!is_image_reference(supervisor.name + "@" + supervisor.image.text())) {
    return field("supervisor.name", "must be REGISTRY/PATH, without tag and digest");
  }
  if (supervisor.version.empty() ||
      kDigits.find(supervisor.version.front()) == std::string_view::npos) {
    return field("supervisor.version", "must be a version such as 17.0.1");
  }
  for (const auto& service : manifest.release.services) {
    if (repository_of(service.image_reference) == supervisor.name) {
      return field("supervisor.name", "is the name of the image of service " + service.name);
    }
  }
  return base::ok();
}

base::Status check_config(const ConfigChange& config) {
  OU_TRY(const auto patch, read_object(config.patch_json, "config.patch"));
  for (const auto& [key, value] : patch.items()) {
    if (!is_patchable_config_key(key)) {
      return field("config.patch", "sets " + base::printable(key, 64) +
                                       ", which a bundle may not: identity and endpoints belong "
                                       "to the device");
    }
  }
  for (const auto& [name, content] : config.connections) {
    if (!is_name(name) || content.empty()) {
      return field("config.connections",
                   "must have content under names of letters, digits, '_', '.', '-'");
    }
  }
  return base::ok();
}

base::Status check_payload(const Manifest& manifest) {
  if (!manifest.has_release() && !manifest.os) {
    return field("release", "and os are both missing: there is nothing to install");
  }
  std::set<oci::Digest> wanted;
  if (manifest.has_release()) {
    OU_CHECK(check_release(manifest, wanted));
  }
  if (manifest.os) {
    OU_CHECK(check_os(manifest, wanted));
  }
  if (manifest.supervisor) {
    OU_CHECK(check_supervisor(manifest, wanted));
  }
  OU_CHECK(check_config(manifest.config));
  if (wanted.size() != manifest.images.size()) {
    return field("images", "holds an image twice, or one that nothing uses");
  }
  return base::ok();
}

}  // namespace

base::Status check(const Manifest& manifest) {
  if (!is_uuid(manifest.bundle_id)) {
    return field("id", "must be a UUID in lower case");
  }
  OU_CHECK(check_targets(manifest.targets));
  OU_CHECK(check_payload(manifest));
  std::set<oci::Digest> used;
  for (const auto& image : manifest.images) {
    OU_CHECK(check_image(manifest, image, used));
  }
  for (const auto& [digest, blob] : manifest.blobs) {
    if (!used.contains(digest)) {
      return field("blobs", "lists " + digest.text() + ", which nothing uses");
    }
    OU_CHECK(check_blob(blob));
  }
  return base::ok();
}

}  // namespace bundle
