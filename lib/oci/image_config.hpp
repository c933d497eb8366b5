// The two small JSON documents of an image: its configuration and its manifest.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "oci/digest.hpp"

namespace oci {

inline constexpr std::size_t kMaxImageDocumentBytes = std::size_t{4} * 1024 * 1024;
inline constexpr std::size_t kMaxLayers = 127;  // overlay2's own limit is 128 lower directories

/// What the updater needs from an image configuration; the bytes themselves are kept as they are.
struct ImageConfig {
  std::string architecture;      // GOARCH: amd64, arm, arm64, ...
  std::string os;                // linux
  std::string variant;           // v7, v8; often empty
  std::vector<Digest> diff_ids;  // bottom layer first
};

/// \error ErrorCode::kImageInvalid, kLimitExceeded
/// \source OCI image specification, config.md
base::Result<ImageConfig> parse_image_config(std::string_view json);

struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size_bytes;
};

struct ImageManifest {
  std::string media_type;
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom layer first
};

inline constexpr std::string_view kOciManifestType = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndexType = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kOciConfigType = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kOciLayerTar = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view kOciLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr std::string_view kOciLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Accepts OCI image manifests and Docker schema 2. \error ErrorCode::kImageInvalid, kLimitExceeded
base::Result<ImageManifest> parse_image_manifest(std::string_view json);

/// Canonical JSON of an OCI image manifest: the same content gives the same bytes.
std::string to_json(const ImageManifest& manifest);

/// The manifest under which the device's engine pulls an image: every layer uncompressed, named by
/// its diff ID. It depends on the image alone, not on how a bundle compresses it, so its digest is
/// what release documents use as the image's digest.
/// \param layer_sizes_bytes uncompressed size of each layer, bottom first, as many as diff IDs
std::string served_manifest(const Digest& config_digest, std::uint64_t config_size_bytes,
                            const std::vector<Digest>& diff_ids,
                            const std::vector<std::uint64_t>& layer_sizes_bytes);

}  // namespace oci
