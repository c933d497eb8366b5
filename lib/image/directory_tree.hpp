// The names of a new tree of directories, kept in memory until all of them are known; then each
// directory is written in one piece.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "image/node_store.hpp"

namespace image {

/// What one tree may hold in memory: a few bytes of an archive can name thousands of directories.
inline constexpr std::size_t kMaxTreeNodes = 2'000'000;
inline constexpr std::uint64_t kMaxTreeTextBytes = std::uint64_t{256} * 1024 * 1024;

/// A directory of a DirectoryTree: an index.
using DirectoryId = std::size_t;

class DirectoryTree {
 public:
  struct Child {
    NodeId node;
    LayerEntry::Kind kind;
    DirectoryId directory;  // for kDirectory
  };

  /// A tree whose root has these permissions and is root's. `store` outlives the tree.
  static base::Result<DirectoryTree> start(NodeStore& store, std::uint32_t permissions);

  static constexpr DirectoryId kRoot = 0;
  [[nodiscard]] const Child* find(DirectoryId directory, const std::string& name) const;
  [[nodiscard]] DirectoryId parent_of(DirectoryId directory) const {
    return directories_[directory].parent;
  }
  [[nodiscard]] NodeId node_of(DirectoryId directory) const { return directories_[directory].node; }
  /// Where a symbolic link of this tree leads. \pre it is one
  [[nodiscard]] const std::string& target_of(NodeId symlink) const { return targets_.at(symlink); }

  /// \pre nothing has that name there
  /// \error those of NodeStore::make(); ErrorCode::kLimitExceeded above kMaxTreeNodes or
  ///   kMaxTreeTextBytes, also for the other additions
  base::Result<DirectoryId> add_directory(DirectoryId parent, const std::string& name,
                                          const LayerEntry& entry);
  base::Status add(DirectoryId parent, const std::string& name, const LayerEntry& entry,
                   oci::ByteSource* content);
  /// A file of root's with this content.
  base::Status add_file(DirectoryId parent, const std::string& name, std::uint32_t permissions,
                        base::ByteView content);
  base::Status add_link(DirectoryId parent, const std::string& name, const Child& to);
  /// Removes an entry with all that is below it; fine when it is not there.
  base::Status remove(DirectoryId parent, const std::string& name);

  /// Sizes of all files and symbolic links, those with several names once.
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

  /// Writes all directories. \param parent what ".." of the root is \return the root
  base::Result<NodeId> finish(NodeId parent);

 private:
  struct Directory {
    NodeId node;
    DirectoryId parent;
    bool gone = false;
    std::map<std::string, Child> children;
  };
  explicit DirectoryTree(NodeStore& store) : store_(&store) {}
  base::Status count(const std::string& name, const std::string& target);
  NodeStore* store_;
  std::vector<Directory> directories_;
  std::unordered_map<NodeId, std::string> targets_;
  std::uint64_t size_bytes_ = 0;
  std::size_t nodes_ = 0;
  std::uint64_t text_bytes_ = 0;
};

/// An entry of root's, with a fixed time.
LayerEntry plain_entry(LayerEntry::Kind kind, std::uint32_t permissions);

}  // namespace image
