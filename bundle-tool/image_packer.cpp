#include "image_packer.hpp"

namespace tool {
namespace {

using base::Result;

/// Phases are named here; how far one is comes from below.
class WithinPhase final : public base::ProgressSink {
 public:
  explicit WithinPhase(base::ProgressSink& outer) : outer_(outer) {}
  void phase(std::string_view /*name*/, std::uint64_t /*total*/) override {}
  void advance(std::uint64_t done) override { outer_.advance(done); }

 private:
  base::ProgressSink& outer_;
};

std::string_view media_type(oci::Encoding encoding) {
  switch (encoding) {
    case oci::Encoding::kNone:
      return oci::kOciLayerTar;
    case oci::Encoding::kGzip:
      return oci::kOciLayerGzip;
    case oci::Encoding::kZstd:
      return oci::kOciLayerZstd;
  }
  return oci::kOciLayerTar;
}

}  // namespace

Result<bundle::Blob> ImagePacker::store(std::string_view document) {
  OU_TRY(bundle::Blob blob,
         bundle::store_document(document, blobs_directory_, options_.chunk_bytes));
  blobs_.emplace(blob.digest, blob);
  return blob;
}

Result<bundle::Layer> ImagePacker::pack_layer(const oci::ImageSource& source, std::size_t index,
                                              base::ProgressSink& progress) {
  const oci::Digest diff_id = source.config().diff_ids.at(index);
  if (const auto known = layers_.find(diff_id); known != layers_.end()) {
    return known->second;
  }
  OU_TRY(auto stream, source.open_layer(index));
  WithinPhase within(progress);
  OU_TRY(bundle::PackedLayer packed,
         bundle::pack_layer(std::move(stream), diff_id, blobs_directory_, options_, within));
  const bundle::Layer layer{diff_id, packed.blob.digest, packed.usage.bytes, packed.usage.inodes};
  blobs_.emplace(packed.blob.digest, std::move(packed.blob));
  layers_.emplace(diff_id, layer);
  return layer;
}

Result<PackedImage> ImagePacker::pack_new(const std::string& label, const oci::ImageSource& source,
                                          const oci::Digest& id, base::ProgressSink& progress) {
  const oci::ImageConfig& config = source.config();
  OU_TRY(const bundle::Blob config_blob, store(source.config_bytes()));
  oci::ImageManifest manifest{std::string(oci::kOciManifestType),
                              {std::string(oci::kOciConfigType), id, config_blob.size_bytes},
                              {}};
  std::vector<bundle::Layer> layers;
  std::vector<std::uint64_t> sizes;
  for (std::size_t i = 0; i < config.diff_ids.size(); ++i) {
    const std::string name = "layer " + std::to_string(i + 1) + " of " +
                             std::to_string(config.diff_ids.size()) + " of " + label;
    progress.phase(name, 0);
    OU_TRY(const bundle::Layer layer, pack_layer(source, i, progress).within(name));
    const bundle::Blob& blob = blobs_.at(layer.blob);
    manifest.layers.push_back(
        {std::string(media_type(blob.encoding)), blob.digest, blob.size_bytes});
    sizes.push_back(blob.uncompressed_size_bytes);
    layers.push_back(layer);
  }
  OU_TRY(const bundle::Blob manifest_blob, store(oci::to_json(manifest)));
  const std::string served =
      oci::served_manifest(id, config_blob.size_bytes, config.diff_ids, sizes);
  return PackedImage{
      {id, manifest_blob.digest, config.architecture, config.os, config.variant, std::move(layers)},
      oci::Digest::of(base::as_bytes(served))};
}

Result<std::unique_ptr<oci::ImageSource>> ImagePacker::open(const std::string& source,
                                                            const ImageRole& role,
                                                            base::ProgressSink& progress) {
  if (DiskImages::is_one(source)) {
    return disks_.open_image(source, role, progress).within(source);
  }
  return oci::open_image_source(source, scratch_, platform_).within(source);
}

Result<PackedImage> ImagePacker::pack(const std::string& label, const std::string& source,
                                      const ImageRole& role, base::ProgressSink& progress) {
  const bool one_image = !DiskImages::is_one(source);
  if (const auto known = sources_.find(source); one_image && known != sources_.end()) {
    return images_.at(known->second);
  }
  progress.phase("opening " + source, 0);
  OU_TRY(const auto image, open(source, role, progress));
  OU_TRY(PackedImage packed, pack_opened(label, source, *image, progress));
  if (one_image) {
    sources_.emplace(source, packed.image.id);
  }
  return packed;
}

Result<PackedImage> ImagePacker::pack_opened(const std::string& label, const std::string& source,
                                             const oci::ImageSource& image,
                                             base::ProgressSink& progress) {
  const oci::Digest id = oci::Digest::of(base::as_bytes(image.config_bytes()));
  if (images_.count(id) == 0) {
    OU_TRY(PackedImage packed, pack_new(label, image, id, progress).within(source));
    images_.emplace(id, std::move(packed));
  }
  return images_.at(id);
}

}  // namespace tool
