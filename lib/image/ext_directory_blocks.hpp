// The blocks of a new ext4 directory, filled one after the other. Private to this library.
#pragma once

#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <string_view>

#include "base/bytes.hpp"
#include "image/node_store.hpp"

namespace image {

/// Puts entries into blocks, each but a block's last one as long as it has to be.
class DirectoryBlocks {
 public:
  DirectoryBlocks(ext2_filsys fs, std::uint32_t tail_bytes)
      : fs_(fs), room_(fs->blocksize - tail_bytes), tail_(tail_bytes > 0) {}

  void add(std::string_view name, NodeId node, int type) {
    const std::size_t bytes = directory_entry_bytes(name.size());
    if (blocks_.empty() || used_ + bytes > room_) {
      close_block();
      blocks_.resize(blocks_.size() + fs_->blocksize);
      used_ = 0;
    }
    last_ = used_;
    ext2_dir_entry* const entry = at(last_);
    entry->inode = node;
    static_cast<void>(ext2fs_set_rec_len(fs_, static_cast<unsigned>(bytes), entry));
    ext2fs_dirent_set_name_len(entry, static_cast<int>(name.size()));
    ext2fs_dirent_set_file_type(entry, type);
    std::copy(name.begin(), name.end(), entry->name);
    used_ += bytes;
  }

  base::Bytes finish() {
    close_block();
    return std::move(blocks_);
  }

 private:
  [[nodiscard]] std::uint8_t* block() { return blocks_.data() + blocks_.size() - fs_->blocksize; }
  ext2_dir_entry* at(std::size_t offset) {
    return reinterpret_cast<ext2_dir_entry*>(block() + offset);
  }
  void close_block() {
    if (blocks_.empty()) {
      return;
    }
    static_cast<void>(ext2fs_set_rec_len(fs_, static_cast<unsigned>(room_ - last_), at(last_)));
    if (tail_) {
      // By hand: EXT2_DIRENT_TAIL casts in a way that compilers warn of.
      void* const tail = block() + fs_->blocksize - sizeof(ext2_dir_entry_tail);
      ext2fs_initialize_dirent_tail(fs_, static_cast<ext2_dir_entry_tail*>(tail));
    }
  }

  ext2_filsys fs_;
  std::size_t room_;
  bool tail_;
  base::Bytes blocks_;
  std::size_t used_ = 0;  // of the last block
  std::size_t last_ = 0;  // where in it the last entry is
};

}  // namespace image
