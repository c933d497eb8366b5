// The reading half of ExtFileSystem: inodes, directories, symbolic links, content.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "base/printable.hpp"
#include "image/ext_directory.hpp"
#include "image/ext_errors.hpp"
#include "image/ext_io.hpp"
#include "image/ext_state.hpp"

namespace image {

using base::Error;
using base::ErrorCode;

namespace {

Error damaged(const std::string& what) {
  return {ErrorCode::kDiskImage, "the ext file system is damaged: " + what};
}

std::optional<NodeKind> kind_of(std::uint16_t mode) {
  switch (mode & LINUX_S_IFMT) {
    case LINUX_S_IFREG:
      return NodeKind::kFile;
    case LINUX_S_IFDIR:
      return NodeKind::kDirectory;
    case LINUX_S_IFLNK:
      return NodeKind::kSymlink;
    case LINUX_S_IFCHR:
      return NodeKind::kCharDevice;
    case LINUX_S_IFBLK:
      return NodeKind::kBlockDevice;
    case LINUX_S_IFIFO:
      return NodeKind::kFifo;
    case LINUX_S_IFSOCK:
      return NodeKind::kSocket;
    default:
      return std::nullopt;
  }
}

/// \source https://www.kernel.org/doc/html/latest/filesystems/ext4/inodes.html (i_mtime_extra)
std::int64_t mtime_of(const Inode& inode, std::uint32_t inode_bytes) {
  std::int64_t seconds = static_cast<std::int32_t>(inode.i_mtime);
  constexpr std::size_t kEnd = offsetof(Inode, i_mtime_extra) + sizeof(inode.i_mtime_extra);
  if (inode_bytes > EXT2_GOOD_OLD_INODE_SIZE &&
      EXT2_GOOD_OLD_INODE_SIZE + std::size_t{inode.i_extra_isize} >= kEnd) {
    constexpr std::uint32_t kEpochBits = 3;
    seconds += static_cast<std::int64_t>(inode.i_mtime_extra & kEpochBits) << 32U;
  }
  return seconds;
}

/// The content of one file, read in pieces as large as its runs.
class ExtFileSource final : public oci::ByteSource {
 public:
  ExtFileSource(ext2_filsys handle, std::vector<Run> runs, std::uint64_t size_bytes)
      : handle_(handle), runs_(std::move(runs)), size_bytes_(size_bytes) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    buffer = buffer.first(
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size_bytes_ - at_)));
    std::size_t done = 0;
    while (done < buffer.size()) {
      OU_TRY(const std::size_t count, read_piece(buffer.subspan(done)));
      done += count;
    }
    return done;
  }

 private:
  /// From one run, or from the hole in front of it.
  base::Result<std::size_t> read_piece(std::span<std::uint8_t> buffer) {
    const std::uint64_t block_bytes = handle_->blocksize;
    while (next_ < runs_.size() && (runs_[next_].first + runs_[next_].count) * block_bytes <= at_) {
      ++next_;
    }
    std::uint64_t end = size_bytes_;
    std::uint64_t on_disk = 0;
    if (next_ < runs_.size()) {
      const Run& run = runs_[next_];
      const std::uint64_t start = run.first * block_bytes;
      end = start > at_ ? start : start + run.count * block_bytes;
      on_disk = start > at_ || run.zeros ? 0 : run.physical * block_bytes + (at_ - start);
    }
    buffer =
        buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - at_)));
    if (on_disk == 0) {
      std::ranges::fill(buffer, std::uint8_t{0});
    } else {
      OU_CHECK(range_io_read(handle_->io, on_disk, buffer));
    }
    at_ += buffer.size();
    return buffer.size();
  }

  ext2_filsys handle_;
  std::vector<Run> runs_;
  std::uint64_t size_bytes_;
  std::uint64_t at_ = 0;
  std::size_t next_ = 0;
};

}  // namespace

base::Result<Inode> read_inode(ext2_filsys handle, std::uint32_t inode) {
  if (inode == 0 || inode > handle->super->s_inodes_count) {
    return damaged("there is no inode " + std::to_string(inode));
  }
  Inode content{};
  if (const errcode_t error =
          ext2fs_read_inode_full(handle, inode, reinterpret_cast<ext2_inode*>(&content),
                                 static_cast<int>(sizeof(content)));
      error != 0) {
    return ext_error(error, "read inode " + std::to_string(inode));
  }
  if (content.i_links_count == 0) {
    return damaged("inode " + std::to_string(inode) + " is not in use");
  }
  return content;
}

ExtNode ExtFileSystem::root() const {
  const auto found = node(EXT2_ROOT_INO);  // open() has seen that it is there
  return found ? *found : ExtNode{.inode = EXT2_ROOT_INO, .kind = NodeKind::kDirectory};
}

base::Result<ExtNode> ExtFileSystem::node(std::uint32_t inode) const {
  OU_TRY(const Inode content, read_inode(state_->handle, inode));
  const auto kind = kind_of(content.i_mode);
  if (!kind) {
    return damaged("inode " + std::to_string(inode) + " is of no kind that there is");
  }
  constexpr std::uint32_t kPermissions = 07777;
  const bool long_size = *kind == NodeKind::kFile || *kind == NodeKind::kDirectory;
  const auto* const small = reinterpret_cast<const ext2_inode*>(&content);
  return ExtNode{.inode = inode,
                 .kind = *kind,
                 .permissions = content.i_mode & kPermissions,
                 .uid = inode_uid(*small),
                 .gid = inode_gid(*small),
                 .size_bytes = long_size ? EXT2_I_SIZE(&content) : content.i_size,
                 .mtime_seconds = mtime_of(content, EXT2_INODE_SIZE(state_->handle->super)),
                 .links = content.i_links_count};
}

base::Result<std::optional<ExtNode>> ExtFileSystem::find(std::string_view path) const {
  ExtNode at = root();
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (name.empty()) {
      continue;
    }
    if (at.kind != NodeKind::kDirectory) {
      return std::nullopt;
    }
    OU_TRY(const std::uint32_t inode, find_in_directory(state_->handle, at.inode, name));
    if (inode == 0) {
      return std::nullopt;
    }
    OU_TRY(at, node(inode));
  }
  return at;
}

base::Result<std::string> ExtFileSystem::read_link(const ExtNode& node) const {
  OU_TRY(Inode content, read_inode(state_->handle, node.inode));
  if (!LINUX_S_ISLNK(content.i_mode)) {
    return damaged("inode " + std::to_string(node.inode) + " is no symbolic link");
  }
  const std::uint32_t size = content.i_size;
  std::string target(std::min(size, state_->handle->blocksize), '\0');
  if (size == 0 || size >= state_->handle->blocksize) {
    return damaged("a symbolic link has an impossible length");
  }
  if (ext2fs_is_fast_symlink(reinterpret_cast<ext2_inode*>(&content)) != 0 &&
      (content.i_flags & EXT4_INLINE_DATA_FL) == 0) {
    target.assign(reinterpret_cast<const char*>(content.i_block), size);
  } else {
    OU_TRY(const auto runs, read_runs(state_->handle, node.inode, content));
    if (runs.empty() || runs.front().first != 0 || runs.front().zeros) {
      return damaged("a symbolic link has no content");
    }
    OU_CHECK(
        range_io_read(state_->handle->io, runs.front().physical * state_->handle->blocksize,
                      std::span(reinterpret_cast<std::uint8_t*>(target.data()), target.size())));
  }
  if (target.find('\0') != std::string::npos) {
    return damaged("a symbolic link has a target with a zero byte");
  }
  return target;
}

base::Result<std::unique_ptr<oci::ByteSource>> ExtFileSystem::open_file(const ExtNode& node) const {
  OU_TRY(Inode content, read_inode(state_->handle, node.inode));
  if (!LINUX_S_ISREG(content.i_mode)) {
    return damaged("inode " + std::to_string(node.inode) + " is no regular file");
  }
  OU_TRY(auto runs, read_runs(state_->handle, node.inode, content));
  return std::make_unique<ExtFileSource>(state_->handle, std::move(runs), EXT2_I_SIZE(&content));
}

base::Result<std::string> ExtFileSystem::read_file(std::string_view path,
                                                   std::uint64_t limit_bytes) const {
  const std::string doing = "read " + base::printable(path) + " in the image";
  OU_TRY(const auto found, find(path).within(doing));
  if (!found) {
    return Error(ErrorCode::kNotFound, "there is no " + base::printable(path) + " in the image");
  }
  if (found->kind == NodeKind::kFile && found->size_bytes > limit_bytes) {
    return Error(ErrorCode::kLimitExceeded,
                 "it is larger than " + std::to_string(limit_bytes) + " bytes")
        .within(doing);
  }
  OU_TRY(const auto source, open_file(*found).within(doing));
  std::string content(found->size_bytes, '\0');
  const std::span buffer(reinterpret_cast<std::uint8_t*>(content.data()), content.size());
  OU_TRY(const std::size_t got, source->read(buffer).within(doing));
  content.resize(got);
  return content;
}

}  // namespace image
