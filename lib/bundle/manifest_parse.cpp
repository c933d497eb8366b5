// Reads manifest.json. What one field means is said in docs/bundle-format.md; what has to hold
// between fields is checked in manifest_check.cpp.
#include <algorithm>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "bundle/manifest.hpp"
#include "bundle/manifest_check.hpp"
#include "bundle/timestamp.hpp"

namespace bundle {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::JsonObject;

// A chunk string holds 32 bytes of hash for each 64 KiB of at most 4 GiB, in base64.
constexpr std::size_t kMaxHashesBytes = std::size_t{4} * 1024 * 1024;

oci::Digest read_digest(JsonObject& object, const std::string& key) {
  const auto text = object.text(key);
  const auto digest = oci::Digest::parse(text);
  if (!digest) {
    object.fail(key, "must be sha256: and 64 lower-case hexadecimal digits");
  }
  return digest ? *digest : oci::Digest::of({});
}

VersionRange read_range(const Json& json, const std::string& where, base::Status& status) {
  JsonObject object(json, where);
  VersionRange range{.minimum = object.optional_text("min", kMaxNameBytes),
                     .maximum = object.optional_text("max", kMaxNameBytes)};
  if (status) {
    status = object.finish();
  }
  return range;
}

base::Result<Targets> read_targets(const Json& json) {
  JsonObject object(json, "targets");
  Targets targets{.fleet_uuid = object.text("fleet", kMaxNameBytes),
                  .device_types = object.texts("device_types", kMaxDeviceTypes, kMaxNameBytes),
                  .device_uuids = object.texts("device_uuids", kMaxDeviceUuids, kMaxNameBytes)};
  base::Status ranges;
  targets.os_version = read_range(object.object("os_version", false), "targets.os_version", ranges);
  targets.supervisor_version =
      read_range(object.object("supervisor_version", false), "targets.supervisor_version", ranges);
  OU_CHECK(ranges);
  OU_CHECK(object.finish());
  return targets;
}

base::Result<Policy> read_policy(const Json& json, std::uint64_t format) {
  JsonObject object(json, "policy");
  Policy policy;
  policy.override_update_lock =
      object.optional_boolean("override_update_lock").value_or(policy.override_update_lock);
  policy.confirm_seconds =
      static_cast<std::uint32_t>(object.number("confirm_seconds", kMaxConfirmSeconds));
  const auto health = object.text("health");
  if (health != "running" && health != "healthy") {
    object.fail("health", "must be running or healthy");
  }
  policy.health = health == "running" ? HealthCriterion::kRunning : HealthCriterion::kHealthy;
  policy.pin = object.optional_boolean("pin").value_or(policy.pin);
  if (format >= kOsFormatVersion) {
    policy.allow_os_downgrade = object.optional_boolean("allow_os_downgrade").value_or(false);
    policy.stage = object.optional_boolean("stage").value_or(false);
  }
  OU_CHECK(object.finish());
  return policy;
}

/// A nested document that is kept as canonical text.
std::string read_document(JsonObject& object, const std::string& key, bool required) {
  auto text = base::to_canonical(object.object(key, required));
  if (text.size() > kMaxDocumentBytes) {
    object.fail(key, "is larger than " + std::to_string(kMaxDocumentBytes) + " bytes");
  }
  return text;
}

base::Result<Service> read_service(const std::string& name, const Json& json,
                                   const std::string& where) {
  JsonObject object(json, where);
  Service service{.name = name, .image = oci::Digest::of({})};
  service.image_reference = object.text("image", kMaxNameBytes);
  service.id = object.optional_number("id");
  service.image_id = object.optional_number("image_id");
  service.running = object.optional_boolean("running").value_or(true);
  service.environment = object.text_map("environment", kMaxEnvironment, kMaxValueBytes);
  service.labels = object.text_map("labels", kMaxEnvironment, kMaxValueBytes);
  service.composition_json = read_document(object, "composition", false);
  if (!object.value("contract", false).is_null()) {
    service.contract_json = read_document(object, "contract", true);
  }
  OU_CHECK(object.finish());
  return service;
}

/// The one member of an object with exactly one; the v3 shape nests apps and releases by name.
base::Result<std::pair<std::string, const Json*>> only_member(const Json& json,
                                                              const std::string& where) {
  if (!json.is_object() || json.size() != 1) {
    return Error(ErrorCode::kManifestField, where + " must be an object with exactly one member");
  }
  return std::pair(json.begin().key(), &json.begin().value());
}

base::Result<Release> read_release(const Json& json, const std::string& fleet_uuid) {
  OU_TRY(const auto app_member, only_member(json, "release"));
  if (app_member.first != fleet_uuid) {
    return Error(ErrorCode::kManifestField, "release must be of the fleet in targets.fleet");
  }
  JsonObject app(*app_member.second, "release." + fleet_uuid);
  Release release;
  release.app_id = app.optional_number("id");
  release.app_name = app.text("name", kMaxNameBytes);
  if (app.text("class") != "fleet") {
    app.fail("class", "must be fleet");
  }
  const auto& releases = app.object("releases");
  OU_CHECK(app.finish());
  OU_TRY(const auto member, only_member(releases, "release.releases"));
  release.commit = member.first;
  JsonObject object(*member.second, "release." + base::printable(release.commit, 64));
  release.id = object.optional_number("id");
  release.volumes_json = read_document(object, "volumes", false);
  release.networks_json = read_document(object, "networks", false);
  const auto& services = object.object("services");
  OU_CHECK(object.finish());
  if (services.size() > kMaxServices) {
    return Error(ErrorCode::kLimitExceeded,
                 "more than " + std::to_string(kMaxServices) + " services");
  }
  for (const auto& [name, value] : services.items()) {
    OU_TRY(auto service,
           read_service(name, value, "release.services." + base::printable(name, 64)));
    release.services.push_back(std::move(service));
  }
  return release;
}

base::Status read_service_images(const Json& json, Release& release) {
  JsonObject object(json, "service_images");
  for (auto& service : release.services) {
    service.image = read_digest(object, service.name);
  }
  return object.finish();
}

base::Result<HostOs> read_os(const Json& json) {
  JsonObject object(json, "os");
  HostOs os;
  os.image = read_digest(object, "image");
  os.version = object.text("version", kMaxNameBytes);
  os.meta_version = object.text("meta_version", kMaxNameBytes);
  os.device_type = object.text("device_type", kMaxNameBytes);
  os.boot_volume_bytes = object.number("boot_volume_bytes", kMaxUncompressedBytes);
  os.signed_for_secure_boot = object.optional_boolean("signed").value_or(false);
  JsonObject files(object.object("boot_files"), "os.boot_files");
  if (object.object("boot_files").size() > kMaxBootFiles) {
    object.fail("boot_files", "has more than " + std::to_string(kMaxBootFiles) + " files");
  } else {
    for (const auto& [path, size] : object.object("boot_files").items()) {
      os.boot_files.emplace(path, files.number(path, kMaxBlobBytes));
    }
  }
  OU_CHECK(object.finish());
  OU_CHECK(files.finish());
  return os;
}

base::Result<SupervisorImage> read_supervisor(const Json& json) {
  JsonObject object(json, "supervisor");
  SupervisorImage supervisor;
  supervisor.image = read_digest(object, "image");
  supervisor.name = object.text("name", kMaxNameBytes);
  supervisor.version = object.text("version", kMaxNameBytes);
  OU_CHECK(object.finish());
  return supervisor;
}

base::Result<ConfigChange> read_config(const Json& json) {
  JsonObject object(json, "config");
  ConfigChange config;
  config.patch_json = read_document(object, "patch", false);
  config.connections = object.text_map("connections", kMaxConnections, kMaxConnectionBytes);
  OU_CHECK(object.finish());
  return config;
}

base::Result<std::vector<Image>> read_images(const Json& json) {
  if (json.size() > kMaxImages) {
    return Error(ErrorCode::kLimitExceeded, "more than " + std::to_string(kMaxImages) + " images");
  }
  std::vector<Image> images;
  for (const auto& value : json) {
    const auto where = "images[" + std::to_string(images.size()) + "]";
    JsonObject object(value, where);
    Image image{.id = read_digest(object, "id"), .manifest = read_digest(object, "manifest")};
    image.architecture = object.text("architecture", kMaxNameBytes);
    image.os = object.text("os", kMaxNameBytes);
    image.variant = object.optional_text("variant", kMaxNameBytes).value_or("");
    const auto& layers = object.array("layers");
    OU_CHECK(object.finish());
    for (const auto& layer_value : layers) {
      JsonObject layer(layer_value, where + ".layers[" + std::to_string(image.layers.size()) + "]");
      image.layers.push_back({.diff_id = read_digest(layer, "diff_id"),
                              .blob = read_digest(layer, "blob"),
                              .installed_bytes = layer.number("installed_bytes"),
                              .installed_inodes = layer.number("installed_inodes")});
      OU_CHECK(layer.finish());
    }
    images.push_back(std::move(image));
  }
  return images;
}

base::Result<ChunkTable> read_chunks(const Json& json, const std::string& where) {
  JsonObject object(json, where);
  ChunkTable table;
  const auto kind = object.text("kind");
  if (kind != "fixed" && kind != "frames") {
    object.fail("kind", "must be fixed or frames");
  }
  table.kind = kind == "frames" ? ChunkTable::Kind::kFrames : ChunkTable::Kind::kFixed;
  table.size_bytes = static_cast<std::uint32_t>(object.number("size", kMaxChunkBytes));
  const auto hashes = base::from_base64(object.text("hashes", kMaxHashesBytes));
  if (!hashes || hashes->size() % sizeof(base::Sha256Hash) != 0) {
    object.fail("hashes", "must be base64 of 32 bytes for each chunk");
  }
  const auto& lengths = object.array("lengths", table.kind == ChunkTable::Kind::kFrames);
  OU_CHECK(object.finish());
  for (const auto& length : lengths) {
    if (!length.is_number_unsigned() || length.get<std::uint64_t>() > UINT32_MAX) {
      return Error(ErrorCode::kManifestField, where + ".lengths must hold whole numbers");
    }
    table.lengths.push_back(length.get<std::uint32_t>());
  }
  table.hashes.resize(hashes->size() / sizeof(base::Sha256Hash));
  auto from = hashes->begin();
  for (auto& hash : table.hashes) {
    std::copy_n(from, hash.size(), hash.begin());
    from += static_cast<long>(hash.size());
  }
  return table;
}

base::Result<std::map<oci::Digest, Blob>> read_blobs(const Json& json) {
  if (json.size() > kMaxBlobs) {
    return Error(ErrorCode::kLimitExceeded, "more than " + std::to_string(kMaxBlobs) + " blobs");
  }
  std::map<oci::Digest, Blob> blobs;
  for (const auto& [name, value] : json.items()) {
    const auto where = "blobs." + base::printable(name, 80);
    const auto digest = oci::Digest::parse(name);
    if (!digest) {
      return Error(ErrorCode::kManifestField, where + " is no digest");
    }
    JsonObject object(value, where);
    const auto size = object.number("size", kMaxBlobBytes);
    const auto encoding = oci::parse_encoding(object.text("encoding"));
    if (!encoding) {
      object.fail("encoding", "must be none, gzip or zstd");
    }
    const auto uncompressed_digest = read_digest(object, "uncompressed_digest");
    const auto uncompressed_size = object.number("uncompressed_size", kMaxUncompressedBytes);
    const auto& chunks = object.object("chunks");
    OU_CHECK(object.finish());
    OU_TRY(auto table, read_chunks(chunks, where + ".chunks"));
    blobs.emplace(*digest, Blob{*digest, size, *encoding, uncompressed_digest, uncompressed_size,
                                std::move(table)});
  }
  return blobs;
}

/// The members that say what is installed. Format 2 may leave each of them out.
base::Status read_payload(JsonObject& object, std::uint64_t format, Manifest& manifest) {
  const bool newer = format >= kOsFormatVersion;
  const auto& release = object.object("release", !newer);
  const auto& service_images = object.object("service_images", !release.empty());
  static const Json kNone = Json::object();
  const auto part = [&](const char* key) -> const Json& {
    return newer ? object.object(key, false) : kNone;
  };
  const auto& os = part("os");
  const auto& supervisor = part("supervisor");
  const auto& config = part("config");
  OU_CHECK(object.finish());
  if (!newer || !release.empty() || !service_images.empty()) {
    OU_TRY(manifest.release, read_release(release, manifest.targets.fleet_uuid));
    OU_CHECK(read_service_images(service_images, manifest.release));
  }
  if (!os.empty()) {
    OU_TRY(manifest.os, read_os(os));
  }
  if (!supervisor.empty()) {
    OU_TRY(manifest.supervisor, read_supervisor(supervisor));
  }
  if (!config.empty()) {
    OU_TRY(manifest.config, read_config(config));
  }
  return base::ok();
}

base::Result<Manifest> read_manifest(const Json& json) {
  JsonObject object(json, "");
  const auto format = object.optional_number("format").value_or(0);
  if (format != kFormatVersion && format != kOsFormatVersion) {
    return Error(ErrorCode::kManifestVersion,
                 "this program reads formats " + std::to_string(kFormatVersion) + " and " +
                     std::to_string(kOsFormatVersion) +
                     " of bundles, and this bundle has another: update the program");
  }
  Manifest manifest;
  manifest.bundle_id = object.text("id", kMaxNameBytes);
  manifest.name = object.text("name", kMaxNameBytes);
  const auto created = parse_timestamp(object.text("created"));
  if (!created) {
    object.fail("created", "must be a time such as 2026-11-23T20:13:00Z");
  }
  manifest.created_at = created.value_or(0);
  manifest.sequence = object.number("sequence");
  const auto& targets = object.object("targets");
  const auto& policy = object.object("policy");
  const auto& images = object.array("images");
  const auto& blobs = object.object("blobs");
  JsonObject files(object.object("files"), "files");
  for (const std::string name : {"index.json", "oci-layout"}) {
    manifest.files.emplace(name, read_digest(files, name));
  }
  OU_CHECK(files.finish());
  OU_TRY(manifest.targets, read_targets(targets));
  OU_CHECK(read_payload(object, format, manifest));
  OU_TRY(manifest.policy, read_policy(policy, format));
  OU_TRY(manifest.images, read_images(images));
  OU_TRY(manifest.blobs, read_blobs(blobs));
  return manifest;
}

}  // namespace

base::Result<Manifest> parse_manifest(std::string_view json) {
  if (json.size() > kMaxManifestBytes) {
    return Error(ErrorCode::kManifestTooLarge,
                 "more than " + std::to_string(kMaxManifestBytes) + " bytes");
  }
  OU_TRY(const auto value, base::parse_json(json, {.max_bytes = kMaxManifestBytes,
                                                   .max_depth = kMaxManifestDepth,
                                                   .max_values = kMaxManifestValues,
                                                   .max_string_bytes = kMaxHashesBytes}));
  OU_TRY(auto manifest, read_manifest(value));
  OU_CHECK(check(manifest));
  return manifest;
}

}  // namespace bundle
