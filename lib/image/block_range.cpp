#include "image/block_range.hpp"

#include <unistd.h>

#include <cerrno>

#include "base/files.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Status;

/// Written so that no sum can overflow.
bool inside(std::uint64_t size_bytes, std::uint64_t at, std::uint64_t count) {
  return at <= size_bytes && count <= size_bytes - at;
}

Error outside(std::uint64_t size_bytes, std::uint64_t at, std::uint64_t count) {
  return Error(ErrorCode::kDiskImage, std::to_string(count) + " bytes at " + std::to_string(at) +
                                          " are not inside a range of " +
                                          std::to_string(size_bytes) + " bytes");
}

}  // namespace

BlockRange::BlockRange(SharedFd fd, std::uint64_t offset_bytes, std::uint64_t size_bytes)
    : fd_(std::move(fd)), offset_bytes_(offset_bytes), size_bytes_(size_bytes) {}

Status BlockRange::read(std::uint64_t at, std::span<std::uint8_t> buffer) const {
  if (!inside(size_bytes_, at, buffer.size())) {
    return outside(size_bytes_, at, buffer.size());
  }
  OU_TRY(const std::size_t got, base::read_at(fd_->get(), buffer, offset_bytes_ + at));
  if (got != buffer.size()) {
    return Error(ErrorCode::kDiskImage, "the image ends at " +
                                            std::to_string(offset_bytes_ + at + got) +
                                            ", before the end of a part of it: is it cut off?");
  }
  return base::ok();
}

Status BlockRange::write(std::uint64_t at, base::ByteView bytes) const {
  if (!inside(size_bytes_, at, bytes.size())) {
    return outside(size_bytes_, at, bytes.size());
  }
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(fd_->get(), bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes_ + at));
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put < 0) {
      return Error::from_errno(errno, "write at offset " + std::to_string(offset_bytes_ + at));
    }
    at += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return base::ok();
}

base::Result<BlockRange> BlockRange::part(std::uint64_t at, std::uint64_t size_bytes) const {
  if (!inside(size_bytes_, at, size_bytes)) {
    return outside(size_bytes_, at, size_bytes);
  }
  return BlockRange(fd_, offset_bytes_ + at, size_bytes);
}

}  // namespace image
