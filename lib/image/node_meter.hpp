// What nodes would take in an ext4 file system, without one.
#pragma once

#include <string>
#include <vector>

#include "base/sizes.hpp"
#include "image/node_store.hpp"

namespace image {

/// Adds up what nodes take, and writes nothing.
class NodeMeter final : public NodeStore {
 public:
  explicit NodeMeter(const NodeGeometry& geometry) : geometry_(geometry) {}

  base::Result<NodeId> make(const LayerEntry& entry, oci::ByteSource* content) override;
  base::Status change(NodeId node, const LayerEntry& entry) override;
  base::Status set_attribute(NodeId node, const std::string& name,
                             const std::string& value) override;
  base::Status add_link(NodeId node) override;
  base::Result<std::uint64_t> remove(NodeId node, LayerEntry::Kind kind) override;
  base::Status write_directory(NodeId directory, NodeId parent,
                               const std::vector<NamedNode>& entries) override;

  [[nodiscard]] const base::Room& used() const { return used_; }

 private:
  struct Node {
    std::uint64_t blocks;
    std::uint64_t size_bytes;
    std::uint32_t links;
    std::uint32_t attribute_bytes;
  };
  void add_attributes(Node& node, std::uint64_t bytes);
  NodeGeometry geometry_;
  std::vector<Node> nodes_;
  base::Room used_;
};

}  // namespace image
