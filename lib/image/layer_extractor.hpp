// Puts the entries of a layer's archive into a tree as an engine with overlay2 extracts them, with
// whiteouts in overlayfs's own form.
// \source engine-and-supervisor.md section 6; moby/moby pkg/archive/archive.go, archive_linux.go
#pragma once

#include <string>
#include <vector>

#include "image/directory_tree.hpp"

namespace image {

/// The longest path that Linux takes, and so the longest that an engine extracts.
inline constexpr std::size_t kMaxEntryPathBytes = 4095;

class LayerExtractor {
 public:
  /// \param root the directory that is "/" for the layer: nothing above it is ever reached,
  /// whatever
  ///   names and links say
  LayerExtractor(NodeStore& store, DirectoryTree& tree, DirectoryId root)
      : store_(store), tree_(tree), root_(root) {}

  /// \param content of a file
  /// \error ErrorCode::kImageInvalid for what an engine would fail on: a parent that is no
  ///   directory, a hard link to nothing, a name too long, a whiteout of what the layer itself has;
  ///   those of NodeStore
  base::Status add(const LayerEntry& entry, oci::ByteSource& content);

 private:
  using Components = std::vector<std::string>;
  base::Result<DirectoryId> directory(const Components& path, bool make);
  base::Status white_out(DirectoryId parent, const std::string& name, const LayerEntry& entry);
  base::Status hard_link(DirectoryId parent, const std::string& name, const LayerEntry& entry);

  NodeStore& store_;
  DirectoryTree& tree_;
  DirectoryId root_;
};

}  // namespace image
