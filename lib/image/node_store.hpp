// Where the files of a layer go, one by one: into an ext4 file system (ExtNodes), or only into a
// sum of what they would take there (NodeMeter).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/sizes.hpp"
#include "image/layer_tar.hpp"
#include "oci/byte_source.hpp"

namespace image {

/// An inode's number.
using NodeId = std::uint32_t;

struct NamedNode {
  std::string name;
  NodeId id;
  LayerEntry::Kind kind;
};

/// What ext4 takes as the name of an entry.
inline constexpr std::size_t kMaxNodeNameBytes = 255;
/// What ext4 takes as the number of names of one file.
inline constexpr std::uint32_t kMaxNodeLinks = 65'000;
/// What fits into one block of a symbolic link.
inline constexpr std::size_t kMaxTargetBytes = 4095;

class NodeStore {
 public:
  NodeStore() = default;
  NodeStore(const NodeStore&) = delete;
  NodeStore& operator=(const NodeStore&) = delete;
  virtual ~NodeStore() = default;

  /// Makes a node with one link (a directory: without content, see write_directory()).
  /// \param content the bytes of a file's stretches; not read for anything else
  /// \pre entry.kind is not kHardlink \error ErrorCode::kNoSpace, kImageInvalid, kIo
  virtual base::Result<NodeId> make(const LayerEntry& entry, oci::ByteSource* content) = 0;
  /// Gives a node the owner, mode, times and attributes of `entry`, as an engine does when it
  /// extracts a hard link or a directory that is there: a symbolic link keeps its mode, and what an
  /// old owner's capabilities were is gone.
  virtual base::Status change(NodeId node, const LayerEntry& entry) = 0;
  virtual base::Status set_attribute(NodeId node, const std::string& name,
                                     const std::string& value) = 0;
  /// One name more. \error ErrorCode::kLimitExceeded
  virtual base::Status add_link(NodeId node) = 0;
  /// One name less; without names the node is gone.
  /// \return the size of the file or link that is gone
  virtual base::Result<std::uint64_t> remove(NodeId node, LayerEntry::Kind kind) = 0;
  /// Writes the content of a directory, once. \error ErrorCode::kNoSpace, kLimitExceeded, kIo
  virtual base::Status write_directory(NodeId directory, NodeId parent,
                                       const std::vector<NamedNode>& entries) = 0;
};

/// How many blocks `entries` take as an ext4 directory, "." and ".." included.
/// \param tail_bytes what the end of each block is kept for (12 with metadata_csum)
std::uint64_t directory_blocks(const std::vector<NamedNode>& entries, std::uint32_t block_bytes,
                               std::uint32_t tail_bytes);

/// What one entry of a directory takes.
constexpr std::size_t directory_entry_bytes(std::size_t name_bytes) {
  return (8 + name_bytes + 3) / 4 * 4;
}

/// The shape of a file system as far as it decides what nodes take.
struct NodeGeometry {
  std::uint32_t block_bytes = 4096;
  std::uint32_t inode_bytes = 256;
  std::uint32_t tail_bytes = 12;
};

}  // namespace image
