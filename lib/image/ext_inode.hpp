// One inode in memory, with all that the file system keeps for it. Private to this library.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstdint>
#include <vector>

#include "image/ext_blocks.hpp"
#include "image/layer_tar.hpp"

namespace image {

class ExtInode {
 public:
  /// \param size of the file system's inodes
  explicit ExtInode(std::size_t size) : words_(size / sizeof(std::uint64_t)) {}

  ext2_inode_large& large() { return *reinterpret_cast<ext2_inode_large*>(words_.data()); }
  ext2_inode* plain() { return reinterpret_cast<ext2_inode*>(words_.data()); }
  [[nodiscard]] int size() const { return static_cast<int>(words_.size() * sizeof(std::uint64_t)); }

  /// Whether it has extended attributes, in itself or in a block.
  [[nodiscard]] bool has_attributes();
  /// An empty one for `entry`: its kind, mode, owner, times and one link.
  void start(const LayerEntry& entry);
  void set_owner(const LayerEntry& entry);
  /// All times are the entry's: nobody asks a layer's file when it was made here.
  void set_times(const LayerEntry& entry);
  void set_size(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t content_bytes();
  /// Where its content lies; with more than kInodeExtents only that there is a tree, for
  /// ExtBlocks::record().
  void set_extents(const Extents& extents);
  /// A short symbolic link. \pre target.size() < kInodeTargetBytes
  void set_target(const std::string& target);
  void set_device(std::uint32_t major, std::uint32_t minor);

  static constexpr std::size_t kInodeTargetBytes = sizeof(ext2_inode_large::i_block);

 private:
  [[nodiscard]] bool has_extra() const;
  std::vector<std::uint64_t> words_;
};

}  // namespace image
