#include "oci/image_config.hpp"

#include "base/json.hpp"
#include "base/printable.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::JsonObject;

constexpr std::string_view kDockerManifestType =
    "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kDockerListType =
    "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::string_view kDockerConfigType = "application/vnd.docker.container.image.v1+json";
// Build tools put whole build descriptions into one label or history entry.
constexpr base::JsonLimits kDocumentLimits{.max_bytes = kMaxImageDocumentBytes,
                                           .max_string_bytes = std::size_t{1} << 20U};

Error as_image_error(Error error) {
  return error.code() == ErrorCode::kLimitExceeded ? error
                                                   : std::move(error).as(ErrorCode::kImageInvalid);
}

base::Result<Json> parse_document(std::string_view json, const char* what) {
  auto parsed = base::parse_json(json, kDocumentLimits);
  if (!parsed) {
    return as_image_error(std::move(parsed).error()).within(what);
  }
  return parsed;
}

base::Status check_layer_count(std::size_t count) {
  if (count == 0) {
    return Error(ErrorCode::kImageInvalid,
                 "the image has no layers: there is nothing to run in it");
  }
  if (count > kMaxLayers) {
    return Error(ErrorCode::kLimitExceeded, "the image has " + std::to_string(count) +
                                                " layers; an engine can stack at most " +
                                                std::to_string(kMaxLayers));
  }
  return base::ok();
}

base::Result<std::vector<Digest>> parse_diff_ids(const Json& list) {
  OU_CHECK(check_layer_count(list.size()));
  std::vector<Digest> diff_ids;
  for (const auto& entry : list) {
    if (!entry.is_string()) {
      return Error(ErrorCode::kImageInvalid, "rootfs.diff_ids must hold strings");
    }
    OU_TRY(const Digest diff_id, Digest::parse(entry.get_ref<const std::string&>()));
    diff_ids.push_back(diff_id);
  }
  return diff_ids;
}

base::Result<Descriptor> parse_descriptor(const Json& value, const std::string& where) {
  JsonObject object(value, where);
  const std::string media_type = object.text("mediaType");
  const std::string digest_text = object.text("digest");
  const std::uint64_t size_bytes = object.number("size");
  if (auto finished = object.finish_open(); !finished) {
    return as_image_error(std::move(finished).error());
  }
  OU_TRY(const Digest digest, Digest::parse(digest_text).within(where));
  return Descriptor{media_type, digest, size_bytes};
}

base::Status check_manifest_type(const std::string& media_type) {
  if (media_type == kOciManifestType || media_type == kDockerManifestType) {
    return base::ok();
  }
  if (media_type == kOciIndexType || media_type == kDockerListType) {
    return Error(ErrorCode::kImageInvalid, "this is an index of several images, not one image");
  }
  return Error(ErrorCode::kImageInvalid, "an image manifest of type \"" +
                                             base::printable(media_type) + "\" is not supported");
}

Json descriptor_json(const Descriptor& descriptor) {
  return {{"mediaType", descriptor.media_type},
          {"digest", descriptor.digest.text()},
          {"size", descriptor.size_bytes}};
}

}  // namespace

base::Result<ImageConfig> parse_image_config(std::string_view json) {
  constexpr const char* kWhat = "image configuration";
  OU_TRY(const Json document, parse_document(json, kWhat));
  JsonObject object(document, "");
  ImageConfig config;
  config.architecture = object.text("architecture");
  config.os = object.text("os");
  config.variant = object.optional_text("variant").value_or("");
  JsonObject rootfs(object.object("rootfs"), "rootfs");
  const std::string type = rootfs.text("type");
  const Json& diff_ids = rootfs.array("diff_ids");
  for (JsonObject* part : {&object, &rootfs}) {
    if (auto finished = part->finish_open(); !finished) {
      return as_image_error(std::move(finished).error()).within(kWhat);
    }
  }
  if (type != "layers") {
    return Error(ErrorCode::kImageInvalid, "rootfs.type is not \"layers\"").within(kWhat);
  }
  if (config.architecture.empty() || config.os.empty()) {
    return Error(ErrorCode::kImageInvalid, "architecture and os must not be empty").within(kWhat);
  }
  auto parsed = parse_diff_ids(diff_ids).within(kWhat);
  OU_TRY(config.diff_ids, std::move(parsed));
  return config;
}

base::Result<ImageManifest> parse_image_manifest(std::string_view json) {
  constexpr const char* kWhat = "image manifest";
  OU_TRY(const Json document, parse_document(json, kWhat));
  JsonObject object(document, "");
  const std::uint64_t version = object.number("schemaVersion");
  const std::string media_type =
      object.optional_text("mediaType").value_or(std::string(kOciManifestType));
  if (version == 1) {
    return Error(ErrorCode::kImageInvalid,
                 "image manifest: Docker schema 1 is too old; convert the image with "
                 "\"skopeo copy --format oci\"");
  }
  OU_CHECK(check_manifest_type(media_type).within(kWhat));
  const Json& config_value = object.object("config");
  const Json& layer_values = object.array("layers");
  if (version != 2) {
    object.fail("schemaVersion", "must be 2");
  }
  if (auto finished = object.finish_open(); !finished) {
    return as_image_error(std::move(finished).error()).within(kWhat);
  }
  OU_TRY(Descriptor config, parse_descriptor(config_value, "config").within(kWhat));
  if (config.media_type != kOciConfigType && config.media_type != kDockerConfigType) {
    return Error(ErrorCode::kImageInvalid, "image manifest: config has the type \"" +
                                               base::printable(config.media_type) +
                                               "\": this is not a container image");
  }
  OU_CHECK(check_layer_count(layer_values.size()));
  std::vector<Descriptor> layers;
  for (const auto& value : layer_values) {
    const std::string where = "layers[" + std::to_string(layers.size()) + "]";
    OU_TRY(Descriptor layer, parse_descriptor(value, where).within(kWhat));
    layers.push_back(std::move(layer));
  }
  return ImageManifest{media_type, std::move(config), std::move(layers)};
}

std::string to_json(const ImageManifest& manifest) {
  Json layers = Json::array();
  for (const auto& layer : manifest.layers) {
    layers.push_back(descriptor_json(layer));
  }
  return base::to_canonical({{"schemaVersion", 2},
                             {"mediaType", manifest.media_type},
                             {"config", descriptor_json(manifest.config)},
                             {"layers", std::move(layers)}});
}

std::string served_manifest(const Digest& config_digest, std::uint64_t config_size_bytes,
                            const std::vector<Digest>& diff_ids,
                            const std::vector<std::uint64_t>& layer_sizes_bytes) {
  ImageManifest manifest{std::string(kOciManifestType),
                         {std::string(kOciConfigType), config_digest, config_size_bytes},
                         {}};
  for (std::size_t i = 0; i < diff_ids.size(); ++i) {
    manifest.layers.push_back({std::string(kOciLayerTar), diff_ids[i], layer_sizes_bytes.at(i)});
  }
  return to_json(manifest);
}

}  // namespace oci
