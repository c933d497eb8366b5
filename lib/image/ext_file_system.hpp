// An ext4 file system inside an image, through libext2fs, without mounting it and without root.
// Whatever the file system claims, nothing outside of its range is read or written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/sizes.hpp"
#include "image/block_range.hpp"
#include "oci/byte_source.hpp"

struct struct_ext2_filsys;  // libext2fs: ext2_filsys is a pointer to it

namespace image {

enum class NodeKind { kFile, kDirectory, kSymlink, kCharDevice, kBlockDevice, kFifo, kSocket };

struct ExtNode {
  std::uint32_t inode;
  NodeKind kind;
  std::uint32_t permissions;  // with set-id and sticky bits
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint64_t size_bytes;
  std::int64_t mtime_seconds;
  std::uint32_t links;
};

struct ExtEntry {
  std::string name;  // as the disk has it: hostile; never empty, without '/', "." and ".." left out
  std::uint32_t inode;
};

class ExtFileSystem {
 public:
  enum class Access { kRead, kChange };

  /// \error ErrorCode::kDiskImage: no ext file system, one larger than its range, one that was not
  ///   closed well or has features that libext2fs does not know (for kChange); kIo
  static base::Result<ExtFileSystem> open(const BlockRange& range, Access access);
  ExtFileSystem(ExtFileSystem&&) noexcept;
  ExtFileSystem& operator=(ExtFileSystem&&) noexcept;
  /// Changes that were not written with close() are dropped as far as they are in memory.
  ~ExtFileSystem();

  [[nodiscard]] std::string label() const;
  [[nodiscard]] std::uint32_t block_bytes() const;
  [[nodiscard]] std::uint64_t size_bytes() const;
  /// What is free for root, reserved blocks not counted.
  [[nodiscard]] base::Room free() const;
  [[nodiscard]] base::Room total() const;
  /// Whether the journal holds changes that reading does not see: what the disk has is then older
  /// than what the system that wrote it saw, and may contradict itself. Such a file system is read
  /// all the same (as everything read is checked anyway), but never changed.
  [[nodiscard]] bool unfinished_journal() const;

  // Reading. No symbolic link is ever followed: read_link() says where one leads.

  [[nodiscard]] ExtNode root() const;
  /// \error ErrorCode::kDiskImage, kIo
  [[nodiscard]] base::Result<ExtNode> node(std::uint32_t inode) const;
  /// \param path "balena/image/overlay2"; relative to the root; "" is the root itself
  [[nodiscard]] base::Result<std::optional<ExtNode>> find(std::string_view path) const;
  /// The entries in byte order of their names.
  /// \error ErrorCode::kLimitExceeded above `limit`; kDiskImage when it is no directory; kIo
  [[nodiscard]] base::Result<std::vector<ExtEntry>> list(const ExtNode& directory,
                                                         std::size_t limit) const;
  /// \error ErrorCode::kDiskImage when it is no symbolic link; kIo
  [[nodiscard]] base::Result<std::string> read_link(const ExtNode& node) const;
  /// A file's content; holes are zeros. The file system has to outlive the source.
  /// \error ErrorCode::kDiskImage when it is no regular file
  [[nodiscard]] base::Result<std::unique_ptr<oci::ByteSource>> open_file(const ExtNode& node) const;
  /// A small file. \error ErrorCode::kNotFound, kLimitExceeded, as open_file()
  [[nodiscard]] base::Result<std::string> read_file(std::string_view path,
                                                    std::uint64_t limit_bytes) const;

  // Changing, after open() with kChange.

  /// Replaces or makes a regular file of root's; its directory has to be there. Times are fixed.
  /// When the content fails half-way there is no file of that name any more.
  /// \error ErrorCode::kNoSpace (with nothing changed), kNotFound, kAlreadyExists when it is a
  ///   directory, kDiskImage, kIo; that of `content`
  base::Status write_file(const std::string& path, oci::ByteSource& content,
                          std::uint64_t size_bytes, std::uint32_t permissions);
  /// Makes a directory of root's, mode `permissions`; fine when there is one already.
  /// \error ErrorCode::kNoSpace, kNotFound, kAlreadyExists when it is no directory, kDiskImage, kIo
  base::Status make_directory(const std::string& path, std::uint32_t permissions);
  /// Removes what is no directory, or nothing when it is not there.
  /// \error ErrorCode::kAlreadyExists when it is a directory, kDiskImage, kIo
  base::Status remove_file(const std::string& path);
  /// Writes everything that is still in memory. Nothing may be called afterwards.
  /// \error ErrorCode::kIo, kNoSpace
  base::Status close();

  /// libext2fs's own handle, for code in this library that writes whole trees.
  [[nodiscard]] struct_ext2_filsys* handle() const;
  [[nodiscard]] const BlockRange& range() const;

 private:
  [[nodiscard]] base::Status check_changeable() const;

  struct State;
  explicit ExtFileSystem(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Lets a file system fill `range`, which has become larger; fine when it does already. The work is
/// done on a copy of the blocks in use in a nameless file in `scratch`, so that a file system which
/// lies cannot have anything outside of the range changed, and what changes is carried over when
/// e2fsck finds the result sound. What has been added to the range is cleared.
/// \error ErrorCode::kDiskImage, kDiskImageUnsupported, kNotFound when e2fsprogs is not installed;
///   kNoSpace, kIo
base::Status grow_ext_file_system(const BlockRange& range, const std::filesystem::path& scratch);

/// Runs e2fsck without changing anything. \error ErrorCode::kDiskImage with what it found
base::Status check_ext_file_system(const BlockRange& range);

}  // namespace image
