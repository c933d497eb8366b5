#include "image/node_meter.hpp"

#include <algorithm>

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::size_t kInodeTargetBytes = 60;           // shorter targets stand in the inode
constexpr std::uint64_t kMaxExtentBlocks = 32'768;      // of one extent
constexpr std::uint64_t kInodeExtents = 4;              // that the inode itself holds
constexpr std::uint64_t kExtentsPerBlock = 160;         // libext2fs fills blocks at least half
constexpr std::uint32_t kPlainInodeBytes = 128 + 32;    // behind it attributes fit into an inode
constexpr std::uint32_t kAttributeHeaderBytes = 4 + 4;  // magic, and the end of the list
constexpr std::uint32_t kAttributeEntryBytes = 16;

std::uint64_t file_blocks(const LayerEntry& entry, std::uint64_t block) {
  std::uint64_t blocks = 0;
  std::uint64_t extents = 0;
  std::uint64_t next = 0;  // first block that no earlier stretch has
  for (const Stretch& stretch : entry.stretches) {
    const std::uint64_t first = std::max(stretch.at / block, next);
    next = (stretch.at + stretch.size_bytes - 1) / block + 1;
    const std::uint64_t count = next > first ? next - first : 0;
    blocks += count;
    extents += count / kMaxExtentBlocks + 1;
  }
  return blocks + (extents > kInodeExtents ? extents / kExtentsPerBlock + 2 : 0);
}

std::uint64_t padded(std::uint64_t bytes) {
  return (bytes + 3) / 4 * 4;
}

std::uint64_t attribute_bytes(const std::string& name, const std::string& value) {
  return kAttributeEntryBytes + padded(name.size()) + padded(value.size());
}

}  // namespace

std::uint64_t directory_blocks(const std::vector<NamedNode>& entries, std::uint32_t block_bytes,
                               std::uint32_t tail_bytes) {
  const std::size_t room = block_bytes - tail_bytes;
  std::uint64_t blocks = 1;
  std::size_t used = 2 * directory_entry_bytes(1);
  for (const NamedNode& entry : entries) {
    const std::size_t bytes = directory_entry_bytes(entry.name.size());
    if (used + bytes > room) {
      ++blocks;
      used = 0;
    }
    used += bytes;
  }
  return blocks;
}

void NodeMeter::add_attributes(Node& node, std::uint64_t bytes) {
  const bool had_block =
      node.attribute_bytes + kAttributeHeaderBytes + kPlainInodeBytes > geometry_.inode_bytes;
  node.attribute_bytes += static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, 1U << 20U));
  const bool has_block =
      node.attribute_bytes > 0 &&
      node.attribute_bytes + kAttributeHeaderBytes + kPlainInodeBytes > geometry_.inode_bytes;
  if (has_block && (!had_block || node.attribute_bytes == bytes)) {
    ++node.blocks;
    used_.bytes += geometry_.block_bytes;
  }
}

Result<NodeId> NodeMeter::make(const LayerEntry& entry, oci::ByteSource* /*content*/) {
  Node node{0, 0, 1, 0};
  if (entry.kind == LayerEntry::Kind::kFile) {
    node.blocks = file_blocks(entry, geometry_.block_bytes);
    node.size_bytes = entry.size_bytes;
  } else if (entry.kind == LayerEntry::Kind::kSymlink) {
    node.blocks = entry.link_target.size() >= kInodeTargetBytes ? 1 : 0;
    node.size_bytes = entry.link_target.size();
  }
  used_.bytes += node.blocks * geometry_.block_bytes;
  ++used_.inodes;
  for (const auto& [name, value] : entry.xattrs) {
    add_attributes(node, attribute_bytes(name, value));
  }
  nodes_.push_back(node);
  return static_cast<NodeId>(nodes_.size() - 1);
}

Status NodeMeter::change(NodeId node, const LayerEntry& entry) {
  for (const auto& [name, value] : entry.xattrs) {
    add_attributes(nodes_[node], attribute_bytes(name, value));
  }
  return base::ok();
}

Status NodeMeter::set_attribute(NodeId node, const std::string& name, const std::string& value) {
  add_attributes(nodes_[node], attribute_bytes(name, value));
  return base::ok();
}

Status NodeMeter::add_link(NodeId node) {
  if (nodes_[node].links >= kMaxNodeLinks) {
    return Error(ErrorCode::kLimitExceeded, "a file has more than 65000 names");
  }
  ++nodes_[node].links;
  return base::ok();
}

/// What it took is not taken back: the file system has to have room for it until it is gone.
Result<std::uint64_t> NodeMeter::remove(NodeId node, LayerEntry::Kind /*kind*/) {
  --nodes_[node].links;
  return nodes_[node].links == 0 ? nodes_[node].size_bytes : 0;
}

Status NodeMeter::write_directory(NodeId /*directory*/, NodeId /*parent*/,
                                  const std::vector<NamedNode>& entries) {
  used_.bytes += directory_blocks(entries, geometry_.block_bytes, geometry_.tail_bytes) *
                 geometry_.block_bytes;
  return base::ok();
}

}  // namespace image
