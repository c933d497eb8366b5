#include "preload_release.hpp"

#include <algorithm>
#include <map>

#include "base/files.hpp"
#include "base/json.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle_files.hpp"
#include "release_builder.hpp"
#include "target_state.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;

// Above every id that the cloud has given out, and exact as a JavaScript number; the agent's first
// is the same.
constexpr std::uint64_t kFirstOwnId = std::uint64_t{1} << 40U;

/// A bundle that is being read, for as long as one of its images is.
struct OpenBundle {
  OpenBundle(base::UntrustedDirectory directory, bundle::Manifest of)
      : chunks(std::move(directory)), manifest(std::move(of)) {}
  bundle::DirectoryChunks chunks;
  bundle::Manifest manifest;
};

class BundleImage final : public oci::ImageSource {
 public:
  BundleImage(std::shared_ptr<OpenBundle> holder, const bundle::Image& image, std::string config,
              oci::ImageConfig parsed)
      : holder_(std::move(holder)),
        image_(image),
        config_bytes_(std::move(config)),
        config_(std::move(parsed)) {}

  [[nodiscard]] const std::string& config_bytes() const override { return config_bytes_; }
  [[nodiscard]] const oci::ImageConfig& config() const override { return config_; }
  [[nodiscard]] Result<std::unique_ptr<oci::ByteSource>> open_layer(
      std::size_t index) const override {
    return bundle::open_uncompressed(holder_->chunks,
                                     holder_->manifest.blobs.at(image_.layers.at(index).blob));
  }

 private:
  std::shared_ptr<OpenBundle> holder_;
  const bundle::Image& image_;
  std::string config_bytes_;
  oci::ImageConfig config_;
};

/// The names under which the supervisor finds an image: by tag, and by digest where there is one.
/// \source engine-and-supervisor.md section 3
std::vector<std::string> references_of(const std::string& name) {
  const std::size_t at = name.find('@');
  const std::string front = name.substr(0, at);
  const std::size_t slash = front.rfind('/');
  const std::size_t colon = front.find(':', slash == std::string::npos ? 0 : slash);
  if (at == std::string::npos) {
    return {colon == std::string::npos ? front + ":latest" : front};
  }
  const std::string repository = front.substr(0, colon);
  return {repository + ":latest", repository + name.substr(at)};
}

/// Gives an image one service more.
void add_service(image::NewImage& image, const bundle::Service& service) {
  image.label += (image.label.empty() ? "service " : ", ") + service.name;
  for (const std::string& reference : references_of(service.image_reference)) {
    if (std::find(image.references.begin(), image.references.end(), reference) ==
        image.references.end()) {
      image.references.push_back(reference);
    }
  }
}

Result<image::NewImage> open_image(const std::shared_ptr<OpenBundle>& holder,
                                   const bundle::Image& image) {
  const bundle::Manifest& manifest = holder->manifest;
  OU_TRY(std::string config, bundle::read_small_blob(holder->chunks, manifest.blobs.at(image.id),
                                                     oci::kMaxImageDocumentBytes));
  if (oci::Digest::of(base::as_bytes(config)) != image.id) {
    return Error(ErrorCode::kBlobAltered, "an image's configuration is not what its digest says");
  }
  OU_TRY(oci::ImageConfig parsed, oci::parse_image_config(config));
  std::vector<oci::Digest> diff_ids;
  image::NewImage opened;
  for (const bundle::Layer& layer : image.layers) {
    diff_ids.push_back(layer.diff_id);
    opened.known.push_back({{layer.installed_bytes, layer.installed_inodes},
                            manifest.blobs.at(layer.blob).uncompressed_size_bytes});
  }
  if (parsed.diff_ids != diff_ids) {
    return Error(ErrorCode::kBundleLayout, "an image's layers are not those of the manifest");
  }
  opened.source =
      std::make_shared<BundleImage>(holder, image, std::move(config), std::move(parsed));
  return opened;
}

/// The manifest, verified if trust is given.
Result<bundle::Manifest> read_manifest(const base::UntrustedDirectory& directory,
                                       const ImagePreloadOptions& options, Console& console) {
  if (!options.trust.empty()) {
    OU_TRY(const bundle::Trust trust, load_trust(options.trust));
    OU_TRY(const auto authentic, bundle::open_manifest(directory, trust));
    return authentic.manifest();
  }
  OU_TRY(const auto signatures, read_signature_files(directory));
  console.warning(signatures.empty()
                      ? "the bundle has no signature: nobody vouches for what is preloaded"
                      : "the bundle's signatures are not verified: pass --trust to do so");
  OU_TRY(UnverifiedManifest manifest, read_unverified_manifest(directory));
  return std::move(manifest.manifest);
}

Result<PreloadRelease> open_bundle_release(const ImagePreloadOptions& options, Console& console) {
  OU_TRY(auto directory, open_bundle(options.bundle));
  OU_TRY(bundle::Manifest read, read_manifest(directory, options, console));
  OU_TRY(const auto files, bundle::check_layout(directory, read));
  static_cast<void>(files);
  if (!read.has_release()) {
    return Error(ErrorCode::kNothingToInstall,
                 "the bundle has no release, so there is nothing to preload");
  }
  const auto holder = std::make_shared<OpenBundle>(std::move(directory), std::move(read));
  const bundle::Manifest& manifest = holder->manifest;
  PreloadRelease result{manifest.targets.fleet_uuid, manifest.release, "{}", options.pin, {}};
  std::map<oci::Digest, image::NewImage> images;
  for (const bundle::Service& service : manifest.release.services) {
    if (images.count(service.image) == 0) {
      OU_TRY(image::NewImage opened, open_image(holder, *manifest.find_image(service.image)));
      images.emplace(service.image, std::move(opened));
    }
    add_service(images.at(service.image), service);
  }
  for (auto& [id, image] : images) {
    result.images.push_back(std::move(image));
  }
  return result;
}

bundle::Release to_release(const ReleaseDraft& draft,
                           const std::map<std::string, oci::Digest>& images) {
  bundle::Release release;
  release.commit = draft.commit;
  release.id = draft.id;
  release.app_id = draft.app_id;
  release.app_name = draft.app_name;
  release.volumes_json = draft.volumes_json;
  release.networks_json = draft.networks_json;
  for (const ServiceDraft& service : draft.services) {
    release.services.push_back({service.name, images.at(service.name), service.image_reference,
                                service.id, service.image_id, service.running, service.environment,
                                service.labels, service.composition_json, service.contract_json});
  }
  return release;
}

Result<PreloadRelease> open_target_state(const ImagePreloadOptions& options,
                                         const std::filesystem::path& scratch, Console& console) {
  const std::string shown = options.target_state.string();
  OU_TRY(const base::Bytes bytes,
         base::read_file(options.target_state, kMaxTargetStateBytes).within(shown));
  OU_TRY(const ReleaseDraft draft, parse_target_state(base::as_text(bytes), "").within(shown));
  for (const std::string& warning : draft.warnings) {
    console.warning(warning);
  }
  OU_TRY(const auto sources, parse_image_options(options.images));
  OU_CHECK(check_images(draft, sources));
  std::map<std::string, oci::Digest> ids;
  std::map<oci::Digest, image::NewImage> images;
  for (const ServiceDraft& service : draft.services) {
    if (service.image_reference.empty()) {
      return Error(ErrorCode::kTargetStateInvalid,
                   shown + ": services." + service.name +
                       ".image is missing: the supervisor looks for the image by that name");
    }
    OU_TRY(std::shared_ptr<const oci::ImageSource> source,
           oci::open_image_source(sources.at(service.name), scratch, options.platform)
               .within("service " + service.name));
    const auto id = oci::Digest::of(base::as_bytes(source->config_bytes()));
    ids.emplace(service.name, id);
    if (images.count(id) == 0) {
      images[id].source = std::move(source);
    }
  }
  PreloadRelease result{
      draft.fleet_uuid, to_release(draft, ids), draft.config_json, options.pin || draft.pin, {}};
  for (const bundle::Service& service : result.release.services) {
    add_service(images.at(service.image), service);
  }
  for (auto& [id, image] : images) {
    result.images.push_back(std::move(image));
  }
  return result;
}

Json tree(const std::string& canonical) {
  return Json::parse(canonical, nullptr, false);
}

}  // namespace

Result<PreloadRelease> open_release(const ImagePreloadOptions& options,
                                    const std::filesystem::path& scratch, Console& console) {
  if (options.bundle.empty() == options.target_state.empty()) {
    return Error(ErrorCode::kUsage, "pass either --bundle, or --target-state with --image");
  }
  if (!options.bundle.empty() && !options.images.empty()) {
    return Error(ErrorCode::kUsage, "--image goes with --target-state: a bundle has its images");
  }
  if (options.bundle.empty() && !options.trust.empty()) {
    return Error(ErrorCode::kUsage, "--trust goes with --bundle");
  }
  if (!options.bundle.empty()) {
    return open_bundle_release(options, console).within(options.bundle.string());
  }
  return open_target_state(options, scratch, console);
}

std::string apps_json(const PreloadRelease& release) {
  std::uint64_t next_id = kFirstOwnId;
  const auto id_or_next = [&next_id](const std::optional<std::uint64_t>& id) {
    return id ? *id : next_id++;
  };
  const bundle::Release& of = release.release;
  const std::uint64_t app_id = id_or_next(of.app_id);
  const std::uint64_t release_id = id_or_next(of.id);
  Json services = Json::object();
  for (const bundle::Service& service : of.services) {
    Json json{{"id", id_or_next(service.id)},
              {"image_id", id_or_next(service.image_id)},
              {"image", service.image_reference},
              {"running", service.running},
              {"environment", service.environment},
              {"labels", service.labels},
              {"composition", tree(service.composition_json)}};
    if (service.contract_json) {
      json["contract"] = tree(*service.contract_json);
    }
    services[service.name] = std::move(json);
  }
  Json body{{"id", release_id},
            {"services", std::move(services)},
            {"volumes", tree(of.volumes_json)},
            {"networks", tree(of.networks_json)}};
  Json app{{"id", app_id},
           {"name", of.app_name},
           {"class", "fleet"},
           {"is_host", false},
           {"releases", {{of.commit, std::move(body)}}}};
  Json json{{"config", tree(release.config_json)},
            {"apps", {{release.fleet_uuid, std::move(app)}}}};
  if (release.pin) {
    json["pinDevice"] = true;
  }
  return base::to_canonical(json);
}

}  // namespace tool
