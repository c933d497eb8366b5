#include "image/ext_nodes.hpp"

#include <ext2fs/ext2fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <limits>

#include "base/printable.hpp"
#include "base/sizes.hpp"
#include "image/ext_blocks.hpp"
#include "image/ext_content.hpp"
#include "image/ext_directory_blocks.hpp"
#include "image/ext_errors.hpp"
#include "image/ext_inode.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::size_t kPieceBytes = std::size_t{1} * 1024 * 1024;

using Kind = LayerEntry::Kind;

int directory_type(Kind kind) {
  switch (kind) {
    case Kind::kDirectory:
      return EXT2_FT_DIR;
    case Kind::kSymlink:
      return EXT2_FT_SYMLINK;
    case Kind::kCharDevice:
      return EXT2_FT_CHRDEV;
    case Kind::kBlockDevice:
      return EXT2_FT_BLKDEV;
    case Kind::kFifo:
      return EXT2_FT_FIFO;
    case Kind::kFile:
    case Kind::kHardlink:
      break;
  }
  return EXT2_FT_REG_FILE;
}

/// Linux refuses attributes outside of these; engines go on without them.
/// \source ext4(5), xattr(7)
bool is_kept_attribute(std::string_view name) {
  for (const std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (name.starts_with(prefix) && name.size() > prefix.size()) {
      return true;
    }
  }
  return name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

}  // namespace

struct ExtNodes::State {
  explicit State(ext2_filsys handle) : fs(handle), blocks(handle), piece(kPieceBytes) {}

  ext2_filsys fs;
  ExtBlocks blocks;
  base::Bytes piece;
  ext2_ino_t next_inode = 0;

  [[nodiscard]] ExtInode blank() const { return ExtInode(EXT2_INODE_SIZE(fs->super)); }

  Result<ExtInode> read(NodeId node) {
    ExtInode inode = blank();
    if (const errcode_t error = ext2fs_read_inode_full(fs, node, inode.plain(), inode.size());
        error != 0) {
      return ext_error(error, "read an inode");
    }
    return inode;
  }

  Status write(NodeId node, ExtInode& inode) {
    if (const errcode_t error = ext2fs_write_inode_full(fs, node, inode.plain(), inode.size());
        error != 0) {
      return ext_error(error, "write an inode");
    }
    return base::ok();
  }

  Result<NodeId> take_inode(bool directory) {
    const ext2_ino_t first = std::max<ext2_ino_t>(next_inode, EXT2_FIRST_INODE(fs->super));
    const ext2_ino_t last = fs->super->s_inodes_count;
    ext2_ino_t found = 0;
    errcode_t error =
        first > last ? ENOENT
                     : ext2fs_find_first_zero_inode_bitmap2(fs->inode_map, first, last, &found);
    if (error == ENOENT) {  // some may have been given back
      error = ext2fs_find_first_zero_inode_bitmap2(fs->inode_map, EXT2_FIRST_INODE(fs->super), last,
                                                   &found);
    }
    if (error != 0) {
      return Error(ErrorCode::kNoSpace, "the file system has no inode left");
    }
    ext2fs_inode_alloc_stats2(fs, found, +1, directory ? 1 : 0);
    next_inode = found + 1;
    return found;
  }

  /// Content that is written block by block as it comes; what lies between stretches stays a hole.
  class Content {
   public:
    Content(State& state, Extents& extents) : state_(state), extents_(extents) {}

    Status write(const LayerEntry& entry, oci::ByteSource& content) {
      const std::uint64_t block = state_.fs->blocksize;
      for (const Stretch& stretch : entry.stretches) {
        if (stretch.at / block * block > first_ + used_) {
          OU_CHECK(flush());
          first_ = stretch.at / block * block;
        }
        OU_CHECK(fill_zero(stretch.at - first_ - used_));
        OU_CHECK(fill(content, stretch.size_bytes));
      }
      return flush();
    }

   private:
    Status fill_zero(std::uint64_t count) {
      // Less than a block: a larger gap is a hole. So there is room but at the end of a piece.
      while (count > 0) {
        OU_TRY(const std::size_t room, make_room());
        const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(room, count));
        std::fill_n(state_.piece.begin() + static_cast<std::ptrdiff_t>(used_), part, 0);
        used_ += part;
        count -= part;
      }
      return base::ok();
    }

    Status fill(oci::ByteSource& content, std::uint64_t count) {
      while (count > 0) {
        OU_TRY(const std::size_t room, make_room());
        const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(room, count));
        OU_TRY(const std::size_t got, content.read(std::span(state_.piece).subspan(used_, wanted)));
        if (got == 0) {
          return Error(ErrorCode::kImageInvalid, "a file in a layer is shorter than it says");
        }
        used_ += got;
        count -= got;
      }
      return base::ok();
    }

    Result<std::size_t> make_room() {
      if (used_ == state_.piece.size()) {
        OU_CHECK(flush());
      }
      return state_.piece.size() - used_;
    }

    Status flush() {
      if (used_ == 0) {
        return base::ok();
      }
      const std::uint64_t block = state_.fs->blocksize;
      const std::size_t whole = base::in_blocks(used_, block);
      std::fill(state_.piece.begin() + static_cast<std::ptrdiff_t>(used_),
                state_.piece.begin() + static_cast<std::ptrdiff_t>(whole), 0);
      OU_CHECK(state_.blocks.append(extents_, first_ / block,
                                    base::ByteView(state_.piece).first(whole)));
      first_ += whole;
      used_ = 0;
      return base::ok();
    }

    State& state_;
    Extents& extents_;
    std::uint64_t first_ = 0;  // where in the file the piece begins
    std::size_t used_ = 0;     // of the piece
  };

  Status set_blocks(ExtInode& inode, const Extents& extents) {
    std::uint64_t count = 0;
    for (const Extent& extent : extents) {
      count += extent.blocks;
    }
    inode.set_extents(extents);
    if (const errcode_t error = ext2fs_iblk_set(fs, inode.plain(), count); error != 0) {
      return ext_error(error, "count a file's blocks");
    }
    return base::ok();
  }

  Status write_with_extents(NodeId node, ExtInode& inode, const Extents& extents) {
    OU_CHECK(set_blocks(inode, extents));
    OU_CHECK(write(node, inode));
    return extents.size() > kInodeExtents ? blocks.record(node, extents) : base::ok();
  }

  Status set_attributes(NodeId node, const std::map<std::string, std::string>& attributes,
                        bool had_some, bool drop_capabilities) {
    ext2_xattr_handle* handle = nullptr;
    errcode_t error = ext2fs_xattrs_open(fs, node, &handle);
    if (error == 0 && had_some) {
      error = ext2fs_xattrs_read(handle);
    }
    if (error == 0 && had_some && drop_capabilities) {
      error = ext2fs_xattr_remove(handle, "security.capability");
    }
    std::string name;
    for (auto at = attributes.begin(); error == 0 && at != attributes.end(); ++at) {
      name = at->first;
      if (is_kept_attribute(name)) {
        error = ext2fs_xattr_set(handle, name.c_str(), at->second.data(), at->second.size());
      }
    }
    if (handle != nullptr) {
      const errcode_t closed = ext2fs_xattrs_close(&handle);
      error = error == 0 ? closed : error;
    }
    if (error == EXT2_ET_EA_NO_SPACE || error == EXT2_ET_EA_BAD_NAME_LEN ||
        error == EXT2_ET_INVALID_ARGUMENT || error == EINVAL) {
      return Error(ErrorCode::kImageInvalid,
                   "a file has extended attributes that ext4 does not take (" +
                       base::printable(name) + "): no engine extracts this");
    }
    return error == 0 ? base::ok() : ext_error(error, "write extended attributes");
  }
};

ExtNodes::ExtNodes(std::unique_ptr<State> state) : state_(std::move(state)) {}
ExtNodes::~ExtNodes() = default;

NodeGeometry geometry_of(const ExtFileSystem& files) {
  ext2_filsys fs = files.handle();
  return {.block_bytes = fs->blocksize,
          .inode_bytes = static_cast<std::uint32_t>(EXT2_INODE_SIZE(fs->super)),
          .tail_bytes = ext2fs_has_feature_metadata_csum(fs->super) != 0
                            ? static_cast<std::uint32_t>(sizeof(ext2_dir_entry_tail))
                            : 0U};
}

Result<std::uint64_t> free_runs(const ExtFileSystem& files) {
  ext2_filsys fs = files.handle();
  if (fs->block_map == nullptr) {
    if (const errcode_t error = ext2fs_read_block_bitmap(fs); error != 0) {
      return ext_error(error, "read the block bitmaps of the ext file system");
    }
  }
  const blk64_t last = ext2fs_blocks_count(fs->super) - 1;
  std::uint64_t runs = 0;
  blk64_t at = fs->super->s_first_data_block;
  while (at <= last && ext2fs_find_first_zero_block_bitmap2(fs->block_map, at, last, &at) == 0) {
    ++runs;
    if (ext2fs_find_first_set_block_bitmap2(fs->block_map, at, last, &at) != 0) {
      break;
    }
  }
  return runs;
}

Result<std::unique_ptr<ExtNodes>> ExtNodes::open(ExtFileSystem& files) {
  ext2_filsys fs = files.handle();
  if (ext2fs_has_feature_extents(fs->super) == 0 || ext2fs_has_feature_filetype(fs->super) == 0 ||
      ext2fs_has_feature_bigalloc(fs->super) != 0 || ext2fs_has_feature_xattr(fs->super) == 0 ||
      fs->inode_map == nullptr || fs->block_map == nullptr) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the file system is no ext4 as balenaOS makes it (extents, file types, extended "
                 "attributes)");
  }
  return std::unique_ptr<ExtNodes>(new ExtNodes(std::make_unique<State>(fs)));
}

Result<NodeId> ExtNodes::make(const LayerEntry& entry, oci::ByteSource* content) {
  State& state = *state_;
  OU_TRY(const NodeId node, state.take_inode(entry.kind == Kind::kDirectory));
  ExtInode inode = state.blank();
  inode.start(entry);
  Extents extents;
  switch (entry.kind) {
    case Kind::kFile: {
      State::Content writer(state, extents);
      OU_CHECK(writer.write(entry, *content));
      inode.set_size(entry.size_bytes);
      if (entry.size_bytes > std::numeric_limits<std::int32_t>::max()) {
        ext2fs_set_feature_large_file(state.fs->super);
      }
      OU_CHECK(state.write_with_extents(node, inode, extents));
      break;
    }
    case Kind::kSymlink:
      if (entry.link_target.size() < ExtInode::kInodeTargetBytes) {
        inode.set_target(entry.link_target);
        OU_CHECK(state.write(node, inode));
      } else {
        inode.set_size(entry.link_target.size());
        base::Bytes block(state.fs->blocksize);
        std::copy_n(entry.link_target.begin(),
                    std::min<std::size_t>(entry.link_target.size(), kMaxTargetBytes),
                    block.begin());
        OU_CHECK(state.blocks.append(extents, 0, block));
        OU_CHECK(state.write_with_extents(node, inode, extents));
      }
      break;
    case Kind::kCharDevice:
    case Kind::kBlockDevice:
      inode.set_device(entry.device_major, entry.device_minor);
      OU_CHECK(state.write(node, inode));
      break;
    case Kind::kDirectory:
    case Kind::kFifo:
    case Kind::kHardlink:
      OU_CHECK(state.write(node, inode));
      break;
  }
  if (!entry.xattrs.empty()) {
    OU_CHECK(state.set_attributes(node, entry.xattrs, false, false));
  }
  return node;
}

Status ExtNodes::change(NodeId node, const LayerEntry& entry) {
  OU_TRY(ExtInode inode, state_->read(node));
  ext2_inode_large& large = inode.large();
  inode.set_owner(entry);
  inode.set_times(entry);
  const bool directory = LINUX_S_ISDIR(large.i_mode);
  if (!LINUX_S_ISLNK(large.i_mode)) {
    large.i_mode = static_cast<std::uint16_t>((large.i_mode & LINUX_S_IFMT) | entry.permissions);
  }
  OU_CHECK(state_->write(node, inode));
  const bool had_some = inode.has_attributes();
  if (entry.xattrs.empty() && (!had_some || directory)) {
    return base::ok();
  }
  return state_->set_attributes(node, entry.xattrs, had_some, !directory);
}

Status ExtNodes::set_attribute(NodeId node, const std::string& name, const std::string& value) {
  OU_TRY(ExtInode inode, state_->read(node));
  return state_->set_attributes(node, {{name, value}}, inode.has_attributes(), false);
}

Status ExtNodes::add_link(NodeId node) {
  OU_TRY(ExtInode inode, state_->read(node));
  if (inode.large().i_links_count >= kMaxNodeLinks) {
    return Error(ErrorCode::kLimitExceeded, "a file has more than 65000 names");
  }
  ++inode.large().i_links_count;
  return state_->write(node, inode);
}

Result<std::uint64_t> ExtNodes::remove(NodeId node, Kind kind) {
  OU_TRY(ExtInode inode, state_->read(node));
  if (--inode.large().i_links_count > 0) {
    OU_CHECK(state_->write(node, inode));
    return std::uint64_t{0};
  }
  const std::uint64_t size = inode.content_bytes();
  OU_CHECK(release_inode(state_->fs, node, *inode.plain()));
  return kind == Kind::kFile || kind == Kind::kSymlink ? size : 0;
}

Status ExtNodes::write_directory(NodeId directory, NodeId parent,
                                 const std::vector<NamedNode>& entries) {
  ext2_filsys fs = state_->fs;
  const bool tail = ext2fs_has_feature_metadata_csum(fs->super) != 0;
  DirectoryBlocks content(fs, tail ? sizeof(ext2_dir_entry_tail) : 0);
  content.add(".", directory, EXT2_FT_DIR);
  content.add("..", parent, EXT2_FT_DIR);
  std::uint64_t links = 2;
  for (const NamedNode& entry : entries) {
    content.add(entry.name, entry.id, directory_type(entry.kind));
    links += entry.kind == Kind::kDirectory ? 1 : 0;
  }
  base::Bytes bytes = content.finish();
  Extents extents;
  const std::uint64_t count = bytes.size() / fs->blocksize;
  for (std::uint64_t done = 0; done < count;) {
    OU_TRY(const Extent got, state_->blocks.take(done, count - done));
    for (std::uint64_t i = 0; i < got.blocks; ++i) {
      if (const errcode_t error = ext2fs_write_dir_block4(
              fs, got.physical + i, bytes.data() + (done + i) * fs->blocksize, 0, directory);
          error != 0) {
        return ext_error(error, "write a directory");
      }
    }
    ExtBlocks::add(extents, got);
    done += got.blocks;
  }
  OU_TRY(ExtInode inode, state_->read(directory));
  inode.set_size(bytes.size());
  if (links >= kMaxNodeLinks && ext2fs_has_feature_dir_nlink(fs->super) == 0) {
    return Error(ErrorCode::kLimitExceeded, "a directory has more than 65000 directories in it");
  }
  inode.large().i_links_count = links >= kMaxNodeLinks ? 1 : static_cast<std::uint16_t>(links);
  // Attributes in a block of their own are counted already.
  const std::uint64_t counted = ext2fs_inode_i_blocks(fs, inode.plain());
  OU_CHECK(state_->set_blocks(inode, extents));
  if (counted > 0 && ext2fs_iblk_add_blocks(fs, inode.plain(), 1) != 0) {
    return Error(ErrorCode::kInternal, "a directory's blocks cannot be counted");
  }
  OU_CHECK(state_->write(directory, inode));
  return extents.size() > kInodeExtents ? state_->blocks.record(directory, extents) : base::ok();
}

Status ExtNodes::attach(NodeId directory, const NamedNode& entry) {
  ext2_filsys fs = state_->fs;
  const int type = directory_type(entry.kind);
  errcode_t error = ext2fs_link(fs, directory, entry.name.c_str(), entry.id, type);
  if (error == EXT2_ET_DIR_NO_SPACE) {
    error = ext2fs_expand_dir(fs, directory);
    if (error == 0) {
      error = ext2fs_link(fs, directory, entry.name.c_str(), entry.id, type);
    }
  }
  if (error != 0) {
    return ext_error(error, "add " + base::printable(entry.name) + " to a directory");
  }
  if (entry.kind != Kind::kDirectory) {
    return base::ok();
  }
  OU_TRY(ExtInode inode, state_->read(directory));
  if (inode.large().i_links_count >= kMaxNodeLinks) {
    return Error(ErrorCode::kLimitExceeded, "a directory has more than 65000 directories in it");
  }
  ++inode.large().i_links_count;
  return state_->write(directory, inode);
}

}  // namespace image
