#include "release_builder.hpp"

#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "oci/image_config.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;

std::string hash_hex(std::string_view text, std::size_t digits) {
  return base::to_hex(base::sha256(base::as_bytes(text))).substr(0, digits);
}

/// Texts that parse_compose() and parse_target_state() made, so they do parse.
Json tree(const std::string& canonical) {
  return Json::parse(canonical, nullptr, false);
}

std::string derived_commit(const ReleaseDraft& draft,
                           const std::map<std::string, PackedImage>& images,
                           const std::string& fleet_uuid) {
  Json services = Json::object();
  for (const ServiceDraft& service : draft.services) {
    services[service.name] = {
        {"image", images.at(service.name).image.id.text()},
        {"running", service.running},
        {"environment", service.environment},
        {"labels", service.labels},
        {"composition", tree(service.composition_json)},
        {"contract", service.contract_json ? tree(*service.contract_json) : Json(nullptr)}};
  }
  const Json content = {{"fleet", fleet_uuid},
                        {"services", std::move(services)},
                        {"volumes", tree(draft.volumes_json)},
                        {"networks", tree(draft.networks_json)}};
  return hash_hex(base::to_canonical(content), 32);
}

/// A name given by the target state stays; a missing digest is added, because the supervisor
/// recognises an unchanged image by it. It drops a tag beside a digest, so that goes at once.
std::string with_digest(const std::string& name, const oci::Digest& digest) {
  if (name.find('@') != std::string::npos) {
    return name;
  }
  const std::size_t slash = name.rfind('/');
  const std::size_t colon = name.find(':', slash == std::string::npos ? 0 : slash);
  return name.substr(0, colon) + "@" + digest.text();
}

std::string names_of(const ReleaseDraft& draft) {
  std::string names;
  for (const ServiceDraft& service : draft.services) {
    names += (names.empty() ? "" : ", ") + service.name;
  }
  return names;
}

}  // namespace

Result<std::map<std::string, std::string>> parse_image_options(
    const std::vector<std::string>& images) {
  std::map<std::string, std::string> sources;
  for (const std::string& image : images) {
    const std::size_t equals = image.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == image.size()) {
      return Error(ErrorCode::kUsage,
                   "--image takes SERVICE=SOURCE, such as main=docker-archive:main.tar; not \"" +
                       base::printable(image) + "\"");
    }
    if (!sources.emplace(image.substr(0, equals), image.substr(equals + 1)).second) {
      return Error(ErrorCode::kUsage,
                   "--image names " + base::printable(image.substr(0, equals)) + " twice");
    }
  }
  return sources;
}

base::Status check_images(const ReleaseDraft& draft,
                          const std::map<std::string, std::string>& sources) {
  std::string missing;
  auto unknown = sources;
  for (const ServiceDraft& service : draft.services) {
    if (unknown.erase(service.name) == 0) {
      missing += (missing.empty() ? "" : ", ") + service.name;
    }
  }
  if (!unknown.empty()) {
    return Error(ErrorCode::kUsage, "--image names the service \"" +
                                        base::printable(unknown.begin()->first) +
                                        "\", which does not exist; there are: " + names_of(draft));
  }
  if (!missing.empty()) {
    return Error(ErrorCode::kUsage,
                 "no image for: " + missing +
                     "; pass --image SERVICE=SOURCE for each of: " + names_of(draft));
  }
  return base::ok();
}

Result<bundle::Release> build_release(const ReleaseDraft& draft,
                                      const std::map<std::string, PackedImage>& images,
                                      const std::string& fleet_uuid, const std::string& commit,
                                      const std::string& registry_name) {
  bundle::Release release;
  release.commit = !commit.empty()         ? commit
                   : !draft.commit.empty() ? draft.commit
                                           : derived_commit(draft, images, fleet_uuid);
  release.id = draft.id;
  release.app_id = draft.app_id;
  release.app_name = draft.app_name;
  release.volumes_json = draft.volumes_json;
  release.networks_json = draft.networks_json;
  for (const ServiceDraft& service : draft.services) {
    const PackedImage& packed = images.at(service.name);
    const std::string name =
        !service.image_reference.empty()
            ? service.image_reference
            : registry_name + "/v2/" + hash_hex(fleet_uuid + release.commit + service.name, 32);
    const std::string reference = with_digest(name, packed.served);
    if (reference.size() > bundle::kMaxNameBytes) {
      return Error(ErrorCode::kTargetStateInvalid,
                   "services." + service.name +
                       ".image is longer with its digest than the 255 "
                       "bytes that the supervisor takes");
    }
    release.services.push_back({service.name, packed.image.id, reference, service.id,
                                service.image_id, service.running, service.environment,
                                service.labels, service.composition_json, service.contract_json});
  }
  return release;
}

std::string index_json(const bundle::Manifest& manifest,
                       const std::map<oci::Digest, PackedImage>& images,
                       const std::map<oci::Digest, bundle::Blob>& blobs) {
  Json manifests = Json::array();
  const auto add = [&](const std::string& name, const oci::Digest& id) {
    const bundle::Image& image = images.at(id).image;
    Json platform = {{"architecture", image.architecture}, {"os", image.os}};
    if (!image.variant.empty()) {
      platform["variant"] = image.variant;
    }
    manifests.push_back({{"mediaType", oci::kOciManifestType},
                         {"digest", image.manifest.text()},
                         {"size", blobs.at(image.manifest).size_bytes},
                         {"platform", std::move(platform)},
                         {"annotations", {{"org.opencontainers.image.ref.name", name}}}});
  };
  for (const bundle::Service& service : manifest.release.services) {
    add(service.name, service.image);
  }
  if (manifest.os) {
    add("host/os", manifest.os->image);
  }
  if (manifest.supervisor) {
    add("host/supervisor", manifest.supervisor->image);
  }
  const Json index = {
      {"schemaVersion", 2}, {"mediaType", oci::kOciIndexType}, {"manifests", std::move(manifests)}};
  return base::to_canonical(index);
}

std::string make_bundle_id(bundle::Manifest manifest) {
  manifest.bundle_id = "00000000-0000-0000-0000-000000000000";
  std::string hex = hash_hex(bundle::to_json(manifest), 32);
  hex[12] = '5';  // version
  hex[16] =
      "89ab"[(hex[16] <= '9' ? hex[16] - '0' : hex[16] - 'a' + 10) % 4];  // variant of RFC 4122
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
         hex.substr(16, 4) + "-" + hex.substr(20);
}

}  // namespace tool
