// Everything small is read and verified at the start; layers stay on the medium.
#include "install/registry_content.hpp"

#include "oci/image_config.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;

/// Takes as long for a wrong guess as for a right one.
bool same_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) {
    return false;
  }
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |=
        static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]));
  }
  return difference == 0;
}

/// The blob, which a parsed manifest is known to list.
base::Result<const bundle::Blob*> listed_blob(const bundle::Manifest& manifest,
                                              const oci::Digest& digest) {
  const auto found = manifest.blobs.find(digest);
  if (found == manifest.blobs.end()) {
    return Error(ErrorCode::kBlobMissing, "the manifest does not list " + digest.text());
  }
  return &found->second;
}

/// "NAME.../KIND/REFERENCE" into its last two parts.
struct Tail {
  std::string_view kind;
  std::string_view reference;
};
Tail split_tail(std::string_view path) {
  const auto last = path.rfind('/');
  if (last == std::string_view::npos || last == 0) {
    return {};
  }
  const auto before = path.rfind('/', last - 1);
  if (before == std::string_view::npos || before == 0) {
    return {};  // a repository needs a name
  }
  return {path.substr(before + 1, last - before - 1), path.substr(last + 1)};
}

}  // namespace

base::Result<RegistryContent> RegistryContent::load(std::string token,
                                                    const bundle::Manifest& manifest,
                                                    bundle::ChunkProvider& chunks) {
  RegistryContent content(std::move(token));
  for (const auto& image : manifest.images) {
    OU_CHECK(content.add_image(image, manifest, chunks).within("image " + image.id.text()));
  }
  return content;
}

base::Status RegistryContent::add_image(const bundle::Image& image,
                                        const bundle::Manifest& manifest,
                                        bundle::ChunkProvider& chunks) {
  OU_TRY(const auto* config_blob, listed_blob(manifest, image.id));
  OU_TRY(auto config, bundle::read_small_blob(chunks, *config_blob, oci::kMaxImageDocumentBytes));
  documents_bytes_ += config.size();
  if (documents_bytes_ > kMaxDocumentsBytes) {
    return Error(ErrorCode::kLimitExceeded, "the image configurations are larger than " +
                                                std::to_string(kMaxDocumentsBytes) + " bytes");
  }
  std::vector<oci::Digest> diff_ids;
  std::vector<std::uint64_t> sizes_bytes;
  for (const auto& layer : image.layers) {
    OU_TRY(const auto* blob, listed_blob(manifest, layer.blob));
    diff_ids.push_back(layer.diff_id);
    sizes_bytes.push_back(blob->uncompressed_size_bytes);
    layers_.try_emplace(layer.diff_id, *blob);
  }
  std::string served = oci::served_manifest(image.id, config.size(), diff_ids, sizes_bytes);
  const auto digest = oci::Digest::of(base::as_bytes(served));
  manifest_of_image_.insert_or_assign(image.id, digest);
  manifests_.insert_or_assign(
      digest, Document{std::string(oci::kOciManifestType), digest, std::move(served)});
  configs_.insert_or_assign(image.id,
                            Document{"application/octet-stream", image.id, std::move(config)});
  return base::ok();
}

Resource RegistryContent::find(std::string_view target) const {
  constexpr std::string_view kRoot = "/v2/";
  target = target.substr(0, target.find('?'));
  if (target == kRoot) {
    return RegistryRoot{};
  }
  if (!target.starts_with(kRoot)) {
    return NoSuchContent{};
  }
  target.remove_prefix(kRoot.size());
  if (!same_secret(target.substr(0, target.find('/')), token_)) {
    return NoSuchContent{};
  }
  const Tail tail = split_tail(target.substr(token_.size()));
  const auto digest = oci::Digest::parse(tail.reference);
  if (!digest) {
    return NoSuchContent{};
  }
  if (tail.kind == "manifests") {
    const auto found = manifests_.find(*digest);
    return found == manifests_.end() ? Resource(NoSuchContent{}) : &found->second;
  }
  if (tail.kind != "blobs") {
    return NoSuchContent{};
  }
  if (const auto config = configs_.find(*digest); config != configs_.end()) {
    return &config->second;
  }
  const auto layer = layers_.find(*digest);
  return layer == layers_.end() ? Resource(NoSuchContent{}) : &layer->second;
}

const oci::Digest& RegistryContent::manifest_of(const oci::Digest& image) const {
  return manifest_of_image_.find(image)->second;
}

}  // namespace agent::install
