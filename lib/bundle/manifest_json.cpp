// Writes manifest.json in its canonical form: sorted keys, no white space, defaults written out.
#include "base/json.hpp"
#include "bundle/manifest.hpp"
#include "bundle/timestamp.hpp"

namespace bundle {
namespace {

using base::Json;

Json range_json(const VersionRange& range) {
  auto json = Json::object();
  if (range.minimum) {
    json["min"] = *range.minimum;
  }
  if (range.maximum) {
    json["max"] = *range.maximum;
  }
  return json;
}

Json service_json(const Service& service) {
  Json json{{"image", service.image_reference},
            {"running", service.running},
            {"environment", service.environment},
            {"labels", service.labels},
            {"composition", Json::parse(service.composition_json, nullptr, false)}};
  if (service.id) {
    json["id"] = *service.id;
  }
  if (service.image_id) {
    json["image_id"] = *service.image_id;
  }
  if (service.contract_json) {
    json["contract"] = Json::parse(*service.contract_json, nullptr, false);
  }
  return json;
}

Json release_json(const Release& release, const std::string& fleet_uuid) {
  auto services = Json::object();
  for (const auto& service : release.services) {
    services[service.name] = service_json(service);
  }
  Json body{{"services", std::move(services)},
            {"volumes", Json::parse(release.volumes_json, nullptr, false)},
            {"networks", Json::parse(release.networks_json, nullptr, false)}};
  if (release.id) {
    body["id"] = *release.id;
  }
  Json app{{"name", release.app_name},
           {"class", "fleet"},
           {"releases", {{release.commit, std::move(body)}}}};
  if (release.app_id) {
    app["id"] = *release.app_id;
  }
  return {{fleet_uuid, std::move(app)}};
}

Json os_json(const HostOs& os) {
  return {{"image", os.image.text()},           {"version", os.version},
          {"meta_version", os.meta_version},    {"device_type", os.device_type},
          {"boot_files", os.boot_files},        {"boot_volume_bytes", os.boot_volume_bytes},
          {"signed", os.signed_for_secure_boot}};
}

Json image_json(const Image& image) {
  auto layers = Json::array();
  for (const auto& layer : image.layers) {
    layers.push_back({{"diff_id", layer.diff_id.text()},
                      {"blob", layer.blob.text()},
                      {"installed_bytes", layer.installed_bytes},
                      {"installed_inodes", layer.installed_inodes}});
  }
  Json json{{"id", image.id.text()},
            {"manifest", image.manifest.text()},
            {"architecture", image.architecture},
            {"os", image.os},
            {"layers", std::move(layers)}};
  if (!image.variant.empty()) {
    json["variant"] = image.variant;
  }
  return json;
}

Json blob_json(const Blob& blob) {
  base::Bytes hashes;
  for (const auto& hash : blob.chunks.hashes) {
    hashes.insert(hashes.end(), hash.begin(), hash.end());
  }
  const bool frames = blob.chunks.kind == ChunkTable::Kind::kFrames;
  Json chunks{{"kind", frames ? "frames" : "fixed"},
              {"size", blob.chunks.size_bytes},
              {"hashes", base::to_base64(hashes)}};
  if (frames) {
    chunks["lengths"] = blob.chunks.lengths;
  }
  return {{"size", blob.size_bytes},
          {"encoding", oci::name_of(blob.encoding)},
          {"uncompressed_digest", blob.uncompressed_digest.text()},
          {"uncompressed_size", blob.uncompressed_size_bytes},
          {"chunks", std::move(chunks)}};
}

/// The members that only format 2 has.
void add_os_parts(const Manifest& manifest, Json& json) {
  if (manifest.os) {
    json["os"] = os_json(*manifest.os);
  }
  if (manifest.supervisor) {
    json["supervisor"] = {{"image", manifest.supervisor->image.text()},
                          {"name", manifest.supervisor->name},
                          {"version", manifest.supervisor->version}};
  }
  if (!manifest.config.empty()) {
    json["config"] = {{"patch", Json::parse(manifest.config.patch_json, nullptr, false)},
                      {"connections", manifest.config.connections}};
  }
}

}  // namespace

std::string to_json(const Manifest& manifest) {
  const auto& targets = manifest.targets;
  const auto& policy = manifest.policy;
  auto service_images = Json::object();
  for (const auto& service : manifest.release.services) {
    service_images[service.name] = service.image.text();
  }
  auto images = Json::array();
  for (const auto& image : manifest.images) {
    images.push_back(image_json(image));
  }
  auto blobs = Json::object();
  for (const auto& [digest, blob] : manifest.blobs) {
    blobs[digest.text()] = blob_json(blob);
  }
  auto files = Json::object();
  for (const auto& [name, digest] : manifest.files) {
    files[name] = digest.text();
  }
  Json policy_json{{"override_update_lock", policy.override_update_lock},
                   {"confirm_seconds", policy.confirm_seconds},
                   {"health", policy.health == HealthCriterion::kRunning ? "running" : "healthy"},
                   {"pin", policy.pin}};
  Json json{{"format", manifest.format()},
            {"id", manifest.bundle_id},
            {"name", manifest.name},
            {"created", format_timestamp(manifest.created_at)},
            {"sequence", manifest.sequence},
            {"targets",
             {{"fleet", targets.fleet_uuid},
              {"device_types", targets.device_types},
              {"device_uuids", targets.device_uuids},
              {"os_version", range_json(targets.os_version)},
              {"supervisor_version", range_json(targets.supervisor_version)}}},
            {"images", std::move(images)},
            {"blobs", std::move(blobs)},
            {"files", std::move(files)}};
  if (manifest.has_release()) {
    json["release"] = release_json(manifest.release, targets.fleet_uuid);
    json["service_images"] = std::move(service_images);
  }
  if (manifest.format() >= kOsFormatVersion) {
    policy_json["allow_os_downgrade"] = policy.allow_os_downgrade;
    policy_json["stage"] = policy.stage;
    add_os_parts(manifest, json);
  }
  json["policy"] = std::move(policy_json);
  return base::to_canonical(json);
}

}  // namespace bundle
