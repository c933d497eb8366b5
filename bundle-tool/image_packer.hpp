// Brings images into a bundle's blobs: configurations as they are, layers packed, and one OCI
// manifest for each image. Images and layers that are there already are not packed again.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "bundle/blob_writer.hpp"
#include "bundle/manifest.hpp"
#include "disk_images.hpp"
#include "oci/image_source.hpp"

namespace tool {

struct PackedImage {
  bundle::Image image;
  oci::Digest served;  // digest of oci::served_manifest(): the image's digest in release documents
};

class ImagePacker {
 public:
  /// \param blobs the directory blobs/sha256, existing
  /// \param scratch where sources may put what they have to keep for a while
  /// \param platform as oci::open_image_source() takes it
  ImagePacker(std::filesystem::path blobs, std::filesystem::path scratch,
              const bundle::PackOptions& options, std::string platform)
      : blobs_directory_(std::move(blobs)),
        scratch_(std::move(scratch)),
        options_(options),
        platform_(std::move(platform)),
        disks_(scratch_) {}

  /// \param label what progress calls it
  /// \param source as oci::open_image_source() takes it, or image:IMG
  /// \param role which image of a disk image is meant
  /// \error those of open() and bundle::pack_layer()
  base::Result<PackedImage> pack(const std::string& label, const std::string& source,
                                 const ImageRole& role, base::ProgressSink& progress);

  /// For a caller that looks into an image before it is packed.
  /// \error as oci::open_image_source(), DiskImages::open_image()
  base::Result<std::unique_ptr<oci::ImageSource>> open(const std::string& source,
                                                       const ImageRole& role,
                                                       base::ProgressSink& progress);
  /// Packs an image that open() opened.
  base::Result<PackedImage> pack_opened(const std::string& label, const std::string& source,
                                        const oci::ImageSource& image,
                                        base::ProgressSink& progress);

  /// The disk images among the sources.
  [[nodiscard]] DiskImages& disks() { return disks_; }

  [[nodiscard]] const std::map<oci::Digest, bundle::Blob>& blobs() const { return blobs_; }
  [[nodiscard]] const std::map<oci::Digest, PackedImage>& images() const { return images_; }

 private:
  base::Result<PackedImage> pack_new(const std::string& label, const oci::ImageSource& source,
                                     const oci::Digest& id, base::ProgressSink& progress);
  base::Result<bundle::Layer> pack_layer(const oci::ImageSource& source, std::size_t index,
                                         base::ProgressSink& progress);
  base::Result<bundle::Blob> store(std::string_view document);

  std::filesystem::path blobs_directory_;
  std::filesystem::path scratch_;
  bundle::PackOptions options_;
  std::string platform_;
  DiskImages disks_;
  std::map<oci::Digest, bundle::Blob> blobs_;
  std::map<oci::Digest, bundle::Layer> layers_;  // by diff ID
  std::map<oci::Digest, PackedImage> images_;    // by image ID
  std::map<std::string, oci::Digest> sources_;   // SOURCE (of one image) to image ID
};

}  // namespace tool
