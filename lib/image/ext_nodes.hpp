// Writes nodes into an ext4 file system: inodes one after the other, content into the first free
// blocks in large pieces, each directory in one go. The same nodes in the same order give the same
// file system.
#pragma once

#include <memory>

#include "image/ext_file_system.hpp"
#include "image/node_store.hpp"

namespace image {

class ExtNodes final : public NodeStore {
 public:
  /// \param files opened with kChange; outlives this
  /// \error ErrorCode::kDiskImageUnsupported without extents or file types in directories
  static base::Result<std::unique_ptr<ExtNodes>> open(ExtFileSystem& files);
  ~ExtNodes() override;

  base::Result<NodeId> make(const LayerEntry& entry, oci::ByteSource* content) override;
  base::Status change(NodeId node, const LayerEntry& entry) override;
  base::Status set_attribute(NodeId node, const std::string& name,
                             const std::string& value) override;
  base::Status add_link(NodeId node) override;
  base::Result<std::uint64_t> remove(NodeId node, LayerEntry::Kind kind) override;
  base::Status write_directory(NodeId directory, NodeId parent,
                               const std::vector<NamedNode>& entries) override;

  /// Gives a finished node a name in a directory that was there before.
  /// \error ErrorCode::kNoSpace, kIo
  base::Status attach(NodeId directory, const NamedNode& entry);

 private:
  struct State;
  explicit ExtNodes(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// \param files what nodes are to be written into
NodeGeometry geometry_of(const ExtFileSystem& files);

/// How many runs its free blocks are in: where one ends, a file is cut in two.
/// \error ErrorCode::kDiskImage, kIo
base::Result<std::uint64_t> free_runs(const ExtFileSystem& files);

}  // namespace image
