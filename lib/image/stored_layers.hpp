// The layers of one image in an engine's store: where each lies, and its files by the names that
// its archive has for them. Private to this library.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/ext_file_system.hpp"
#include "image/tar_split.hpp"
#include "oci/image_config.hpp"

namespace image {

struct StoredLayer {
  std::string metadata;      // path of layerdb/sha256/CHAINID
  std::string path;          // of the directory: overlay2/CACHEID/diff
  std::uint64_t size_bytes;  // as the store has it: of its files
  ExtNode directory;
};

using LayersByChainId = std::map<oci::Digest, StoredLayer>;

/// Finds every layer by its chain ID, which is computed; what the store says of each has to agree.
/// \param root the data root in the file system
/// \param known layers that were found for other images of the store, and then these too
/// \error ErrorCode::kImageInvalid when something is missing or does not fit; kDiskImage, kIo
/// \source engine-and-supervisor.md section 6
base::Result<std::vector<StoredLayer>> find_stored_layers(const ExtFileSystem& files,
                                                          const std::string& root,
                                                          const oci::ImageConfig& config,
                                                          LayersByChainId& known);

/// The files below `directory`. Names are looked up there and nowhere else: no symbolic link is
/// followed. Listings of directories are kept for the next names, within a limit.
std::unique_ptr<LayerContent> open_layer_directory(std::shared_ptr<const ExtFileSystem> files,
                                                   const ExtNode& directory);

}  // namespace image
