// Files of images on the host: read through shared descriptors, so that what was looked at once is
// what is read later, and spooled to disk without a name when they come as a stream. Private to
// this library.
#pragma once

#include <filesystem>
#include <memory>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "oci/tar_reader.hpp"

namespace oci {

using SharedFd = std::shared_ptr<const base::UniqueFd>;

/// What one spooled image may take: far above any image, but an end for a decompression bomb.
inline constexpr std::uint64_t kMaxSpoolBytes = std::uint64_t{64} << 30U;

/// A regular file from its start, independent of other readers of the descriptor.
class FileSource final : public SkippableSource {
 public:
  FileSource(SharedFd fd, std::uint64_t size_bytes) : fd_(std::move(fd)), size_bytes_(size_bytes) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override;
  std::uint64_t skip(std::uint64_t count) override;

 private:
  SharedFd fd_;
  std::uint64_t size_bytes_;
  std::uint64_t at_ = 0;
};

/// \error ErrorCode::kNotFound, kPermission, kIo, kImageInvalid when it is no regular file
base::Result<SharedFd> open_regular_file(const std::filesystem::path& path);

/// A file that vanishes with its last descriptor, even after a crash.
class Spool {
 public:
  /// \error ErrorCode::kNotFound, kPermission, kNoSpace, kIo
  static base::Result<Spool> create(const std::filesystem::path& directory);
  /// \error ErrorCode::kNoSpace, kIo, kLimitExceeded above kMaxSpoolBytes
  base::Status append(base::ByteView bytes);
  SharedFd finish() { return std::make_shared<const base::UniqueFd>(std::move(fd_)); }

 private:
  explicit Spool(base::UniqueFd fd) : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
  std::uint64_t size_bytes_ = 0;
};

/// A tar that may be compressed as a whole, ready for random access: the file itself, or its
/// uncompressed content spooled in `scratch`.
/// \error as open_regular_file(), Spool and open_decoder()
base::Result<SharedFd> open_plain_archive(const std::filesystem::path& path,
                                          const std::filesystem::path& scratch);

/// The size of a regular file. \error ErrorCode::kIo
base::Result<std::uint64_t> size_of(const SharedFd& fd);

}  // namespace oci
