// Writes images into a container engine's overlay2 store inside an ext4 file system, so that an
// engine takes them for its own. What is there already stays, and layers that are there are shared.
// \source engine-and-supervisor.md sections 6, 7, 12
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "base/sizes.hpp"
#include "image/ext_file_system.hpp"
#include "oci/image_source.hpp"
#include "oci/layer_usage.hpp"

namespace image {

/// What somebody has measured of a layer.
struct KnownLayer {
  oci::LayerUsage usage;
  std::uint64_t archive_bytes;
};

struct NewImage {
  std::string label;  // what errors call it
  std::shared_ptr<const oci::ImageSource> source;
  std::vector<std::string> references;  // "repository:tag" and "repository@sha256:..."
  std::vector<KnownLayer> known;        // of each layer, bottom first; empty: nobody has measured
};

struct StoreNeed {
  base::Room room;                // what has to be free before write_images()
  std::uint64_t layer_bytes = 0;  // of the archives that will be read
  std::size_t layers = 0;         // that are to be written
  std::size_t layers_present = 0;
};

/// What write_images() will take. Layers are read and measured where `known` does not say it, or
/// `measure_all` asks for it: then it is exact but for the few blocks by which directories grow.
/// With `known` it allows for names and archive records what they take in ordinary images.
/// \param root of the store: "docker" on the data partition
/// \error ErrorCode::kDiskImageUnsupported for an aufs store; kDiskImage for a damaged one;
///   kImageInvalid, kBlobAltered; those of the sources
base::Result<StoreNeed> measure_images(const ExtFileSystem& files, const std::string& root,
                                       const std::vector<NewImage>& images, bool measure_all,
                                       base::ProgressSink& progress);

/// Writes the images, and makes the store where there is none. Each layer is read once,
/// decompressed and hashed on a thread of its own. After an error the file system has to be thrown
/// away. \param files opened with kChange; still to be closed afterwards \error ErrorCode::kNoSpace
/// when there was less room than needed; as measure_images()
base::Status write_images(ExtFileSystem& files, const std::string& root,
                          const std::vector<NewImage>& images, base::ProgressSink& progress);

}  // namespace image
