// A directory whose content is not trusted: everything is opened relative to a descriptor, beneath
// it, without symbolic links, special files or crossing into another mount.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace base {

enum class EntryKind { kFile, kDirectory, kSymlink, kSpecial };

struct DirectoryEntry {
  std::string name;
  EntryKind kind;
};

struct OpenedFile {
  UniqueFd fd;
  std::uint64_t size_bytes;
};

class UntrustedDirectory {
 public:
  /// \error ErrorCode::kNotFound, kPermission, kIo, kMediumUnsafeEntry when `path` is no directory
  static Result<UntrustedDirectory> open(const std::filesystem::path& path);

  /// The directory `relative` below this one.
  /// \error ErrorCode::kMediumUnsafeEntry when a component is a symbolic link, a mount point or
  ///   leads out, or when it is no directory; kNotFound; kIo
  /// \source openat2(2): RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
  [[nodiscard]] Result<UntrustedDirectory> open_directory(const std::string& relative) const;

  /// The regular file `relative`, read-only; a FIFO or device is not even opened.
  /// \error as open_directory
  [[nodiscard]] Result<OpenedFile> open_file(const std::string& relative) const;

  /// The entries except "." and "..", in byte order of their names.
  /// \error ErrorCode::kLimitExceeded when there are more than `limit`; kIo
  [[nodiscard]] Result<std::vector<DirectoryEntry>> list(std::size_t limit) const;

  /// A second descriptor of the same directory. \error kIo
  [[nodiscard]] Result<UntrustedDirectory> duplicate() const;

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit UntrustedDirectory(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace base
