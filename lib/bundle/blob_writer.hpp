// Packs blobs into a bundle's blobs/sha256/ and says how they have to be verified.
#pragma once

#include <filesystem>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "bundle/limits.hpp"
#include "bundle/manifest.hpp"
#include "oci/byte_source.hpp"
#include "oci/layer_usage.hpp"

namespace bundle {

struct PackOptions {
  int zstd_level = 9;    // 1 to 19
  unsigned threads = 0;  // 0: as many as there are processors; never changes the result
  std::uint32_t chunk_bytes = kDefaultChunkBytes;
};

struct PackedLayer {
  Blob blob;
  oci::LayerUsage usage;
};

/// Reads a layer once, as its source stores it. Writes both candidates (zstd in frames of
/// chunk_bytes; as it came, cut in fixed chunks) below `blobs`, keeps the smaller one and removes
/// the other. A layer that came uncompressed has one candidate. The same input gives the same
/// bytes. \param blobs the directory blobs/sha256, existing \param diff_id what the uncompressed
/// bytes have to hash to \error ErrorCode::kImageInvalid when they do not, or are no tar;
/// kBlobTooLarge above
///   kMaxBlobBytes, saying that FAT32 holds no larger file and what to do; kLimitExceeded;
///   kNoSpace; kIo
base::Result<PackedLayer> pack_layer(std::unique_ptr<oci::ByteSource> source,
                                     const oci::Digest& diff_id, const std::filesystem::path& blobs,
                                     const PackOptions& options, base::ProgressSink& progress);

/// Stores a small document as it is. \error ErrorCode::kNoSpace, kIo
base::Result<Blob> store_document(std::string_view bytes, const std::filesystem::path& blobs,
                                  std::uint32_t chunk_bytes = kDefaultChunkBytes);

}  // namespace bundle
