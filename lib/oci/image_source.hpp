// Where bundle-tool takes images from, by the names that container tools use for them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "oci/byte_source.hpp"
#include "oci/image_config.hpp"

namespace oci {

/// One image, opened: its configuration is in memory and checked, its layers can be streamed.
/// Layers can be opened any number of times and in any order.
class ImageSource {
 public:
  ImageSource() = default;
  ImageSource(const ImageSource&) = delete;
  ImageSource& operator=(const ImageSource&) = delete;
  virtual ~ImageSource() = default;

  /// The configuration, byte for byte; its digest is the image ID.
  [[nodiscard]] virtual const std::string& config_bytes() const = 0;
  [[nodiscard]] virtual const ImageConfig& config() const = 0;
  /// Layer `index` (0 is the bottom) as the source stores it, compressed or not. Not yet checked
  /// against its diff ID: the caller hashes what it gets.
  /// \error ErrorCode::kImageInvalid, kIo, kNotFound
  [[nodiscard]] virtual base::Result<std::unique_ptr<ByteSource>> open_layer(
      std::size_t index) const = 0;
};

/// Opens an image by its SOURCE:
///   docker-archive:FILE     what `docker save` and `skopeo copy ... docker-archive:` write; may be
///                           compressed; exactly one image inside, or FILE:REFERENCE names one
///   oci:DIR[:TAG]           an OCI image layout; TAG is needed if it holds several images
///   oci-archive:FILE[:TAG]  the same in a tar
///   docker-daemon:REF       an image of a local engine, through DOCKER_HOST (unix:// only) or
///                           /var/run/docker.sock; saved once below `scratch_directory`
/// An index with several platforms needs `platform` ("linux/arm64", "linux/arm/v7").
/// \error ErrorCode::kSourceUnsupported for another prefix, with the list of those that exist;
///   kImageInvalid, kNotFound, kEngineUnavailable, kLimitExceeded, kIo
/// \source containers-transports(5)
base::Result<std::unique_ptr<ImageSource>> open_image_source(
    const std::string& source, const std::filesystem::path& scratch_directory,
    const std::string& platform = "");

}  // namespace oci
