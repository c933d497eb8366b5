#include "image/ext_directory.hpp"

#include <algorithm>
#include <string>

#include "base/printable.hpp"
#include "image/ext_errors.hpp"
#include "image/ext_state.hpp"

namespace image {

using base::Error;
using base::ErrorCode;

namespace {

constexpr std::uint32_t kHeaderBytes = 8;

Error damaged(std::uint32_t directory, const std::string& what) {
  return {ErrorCode::kDiskImage, "the ext file system is damaged: the directory in inode " +
                                     std::to_string(directory) + " " + what};
}

class DirectoryReader {
 public:
  DirectoryReader(ext2_filsys handle, std::uint32_t directory,
                  const std::function<bool(const RawEntry&)>& visit)
      : handle_(handle), directory_(directory), visit_(visit), block_(handle->blocksize) {}

  /// \return false when `visit` wants no more
  base::Result<bool> read_block(std::uint64_t block) {
    if (const errcode_t error =
            ext2fs_read_dir_block4(handle_, block, block_.data(), 0, directory_);
        error != 0) {
      return ext_error(error, "read the directory in inode " + std::to_string(directory_));
    }
    std::uint32_t at = 0;
    while (at < block_.size()) {
      OU_TRY(const ext2_dir_entry* entry, entry_at(at));
      if (entry->inode != 0) {
        OU_TRY(const RawEntry raw, check(*entry));
        if (!visit_(raw)) {
          return false;
        }
      }
      at += length_;
    }
    return true;
  }

 private:
  /// Sets length_, what it is to the next one.
  base::Result<ext2_dir_entry*> entry_at(std::uint32_t at) {
    if (at > block_.size() - kHeaderBytes) {
      return damaged(directory_, "has an entry at the very end of a block");
    }
    auto* const entry = reinterpret_cast<ext2_dir_entry*>(block_.data() + at);
    static_cast<void>(ext2fs_get_rec_len(handle_, entry, &length_));  // always succeeds
    if (length_ < kHeaderBytes || length_ % 4 != 0 || length_ > block_.size() - at ||
        (entry->inode != 0 && name_length(*entry) > length_ - kHeaderBytes)) {
      return damaged(directory_, "has an entry of an impossible length");
    }
    return entry;
  }

  static std::uint32_t name_length(const ext2_dir_entry& entry) {
    return static_cast<std::uint32_t>(ext2fs_dirent_name_len(&entry));
  }

  base::Result<RawEntry> check(const ext2_dir_entry& entry) const {
    const std::string_view name(entry.name, name_length(entry));
    if (name.empty() || name.find('/') != std::string_view::npos ||
        name.find('\0') != std::string_view::npos) {
      return damaged(directory_, "has the name \"" + base::printable(name) +
                                     "\", which no file on Linux can have");
    }
    if (entry.inode > handle_->super->s_inodes_count) {
      return damaged(directory_,
                     "has \"" + base::printable(name) + "\" in an inode that is not there");
    }
    return RawEntry{.name = name, .inode = entry.inode};
  }

  ext2_filsys handle_;
  std::uint32_t directory_;
  const std::function<bool(const RawEntry&)>& visit_;
  std::vector<char> block_;
  unsigned length_ = 0;
};

/// What a directory has as its parent. \return 0 when it has none
base::Result<std::uint32_t> parent_of(ext2_filsys handle, std::uint32_t directory) {
  std::uint32_t parent = 0;
  OU_CHECK(each_entry(handle, directory, [&](const RawEntry& entry) {
    if (entry.name == "..") {
      parent = entry.inode;
    }
    return parent == 0;
  }));
  return parent;
}

/// A directory has exactly one parent. So nobody who walks down from the root ever comes to the
/// same directory twice.
base::Status check_child(ext2_filsys handle, std::uint32_t directory, const ExtEntry& entry) {
  OU_TRY(const Inode content, read_inode(handle, entry.inode));
  if (!LINUX_S_ISDIR(content.i_mode)) {
    return base::ok();
  }
  OU_TRY(const std::uint32_t parent, parent_of(handle, entry.inode));
  if (entry.inode == EXT2_ROOT_INO || parent != directory) {
    return damaged(directory, "has \"" + base::printable(entry.name) +
                                  "\", which is a directory somewhere else too");
  }
  return base::ok();
}

}  // namespace

base::Status each_entry(ext2_filsys handle, std::uint32_t directory,
                        const std::function<bool(const RawEntry&)>& visit) {
  OU_TRY(Inode content, read_inode(handle, directory));
  if (!LINUX_S_ISDIR(content.i_mode)) {
    return Error(ErrorCode::kDiskImage, "inode " + std::to_string(directory) + " is no directory");
  }
  OU_TRY(const auto runs, read_runs(handle, directory, content));
  const std::uint64_t blocks = EXT2_I_SIZE(&content) / handle->blocksize;
  DirectoryReader reader(handle, directory, visit);
  for (const Run& run : runs) {
    for (std::uint32_t i = 0; i < run.count && run.first + i < blocks; ++i) {
      OU_TRY(const bool more, reader.read_block(run.physical + i));
      if (!more) {
        return base::ok();
      }
    }
  }
  return base::ok();
}

base::Result<std::uint32_t> find_in_directory(ext2_filsys handle, std::uint32_t directory,
                                              std::string_view name) {
  std::uint32_t inode = 0;
  if (name == "." || name == "..") {
    return inode;
  }
  OU_CHECK(each_entry(handle, directory, [&](const RawEntry& entry) {
    if (entry.name == name) {
      inode = entry.inode;
    }
    return inode == 0;
  }));
  return inode;
}

base::Result<std::vector<ExtEntry>> ExtFileSystem::list(const ExtNode& directory,
                                                        std::size_t limit) const {
  std::vector<ExtEntry> entries;
  bool too_many = false;
  OU_CHECK(each_entry(state_->handle, directory.inode, [&](const RawEntry& entry) {
    if (entry.name != "." && entry.name != "..") {
      too_many = entries.size() == limit;
      if (!too_many) {
        entries.push_back({.name = std::string(entry.name), .inode = entry.inode});
      }
    }
    return !too_many;
  }));
  if (too_many) {
    return Error(ErrorCode::kLimitExceeded,
                 "a directory has more than " + std::to_string(limit) + " entries");
  }
  std::ranges::sort(entries, {}, &ExtEntry::name);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i > 0 && entries[i].name == entries[i - 1].name) {
      return damaged(directory.inode, "has \"" + base::printable(entries[i].name) + "\" twice");
    }
    OU_CHECK(check_child(state_->handle, directory.inode, entries[i]));
  }
  return entries;
}

}  // namespace image
