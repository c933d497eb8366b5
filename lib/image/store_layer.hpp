// One layer as an overlay2 store keeps it: a directory with its tree, and a directory with what the
// engine knows of it. Private to this library.
// \source engine-and-supervisor.md sections 6, 7, 12
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "image/node_store.hpp"
#include "image/read_ahead.hpp"
#include "oci/digest.hpp"

namespace image {

/// The chain ID of each layer, bottom first. \source OCI image specification, config.md
std::vector<oci::Digest> chain_ids(const std::vector<oci::Digest>& diff_ids);

/// The name of a layer's directory below overlay2/, and of its short link below overlay2/l/: made
/// from the chain ID, so that the same layer has the same names everywhere.
std::string cache_id_of(const oci::Digest& chain_id);
std::string link_of(const std::string& cache_id);

struct LayerPlace {
  oci::Digest diff_id;
  oci::Digest chain_id;
  std::optional<oci::Digest> parent;  // its chain ID
  std::string lower;                  // "l/LINK:l/LINK", nearest first; empty for the base
  bool has_child = false;
};

struct BuiltLayer {
  NodeId overlay;  // goes below overlay2/
  NodeId record;   // goes below layerdb/sha256/
  NodeId link;     // goes below overlay2/l/
};

/// The directories that the new ones come to lie in.
struct LayerParents {
  NodeId overlays;
  NodeId records;
};

/// Extracts a layer and writes its records. `tar` is read to its end, and what it was is compared
/// with the diff ID.
/// \error ErrorCode::kImageInvalid, kBlobAltered when it is another layer; those of NodeStore
base::Result<BuiltLayer> build_layer(NodeStore& store, const LayerPlace& place, ReadAhead& tar,
                                     const LayerParents& parents);

}  // namespace image
