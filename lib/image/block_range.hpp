// A stretch of a file, such as one partition of a disk image. Nothing outside of it can be read or
// written through it, whatever a file system in it says of its own size.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace image {

using SharedFd = std::shared_ptr<const base::UniqueFd>;

class BlockRange {
 public:
  /// \param fd a regular file or block device; kept open for as long as a range of it lives
  BlockRange(SharedFd fd, std::uint64_t offset_bytes, std::uint64_t size_bytes);

  [[nodiscard]] const SharedFd& fd() const { return fd_; }
  [[nodiscard]] std::uint64_t offset_bytes() const { return offset_bytes_; }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

  /// Fills `buffer` from `at`, counted from the start of the range.
  /// \error ErrorCode::kDiskImage when that is not all inside, or the file is shorter; kIo
  base::Status read(std::uint64_t at, std::span<std::uint8_t> buffer) const;
  /// Writes all of `bytes`. \error as read(); kNoSpace
  base::Status write(std::uint64_t at, base::ByteView bytes) const;
  /// A part of this range. \error ErrorCode::kDiskImage when it is not all inside
  [[nodiscard]] base::Result<BlockRange> part(std::uint64_t at, std::uint64_t size_bytes) const;

 private:
  [[nodiscard]] base::Status check(std::uint64_t at, std::uint64_t count) const;

  SharedFd fd_;
  std::uint64_t offset_bytes_;
  std::uint64_t size_bytes_;
};

}  // namespace image
