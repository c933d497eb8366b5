#include "image/block_range.hpp"

#include <cerrno>
#include <limits>
#include <string>
#include <utility>

#include "base/files.hpp"

namespace image {

using base::Error;
using base::ErrorCode;

namespace {

constexpr auto kMaxOffset = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());

}  // namespace

BlockRange::BlockRange(SharedFd fd, std::uint64_t offset_bytes, std::uint64_t size_bytes)
    : fd_(std::move(fd)), offset_bytes_(offset_bytes), size_bytes_(size_bytes) {}

base::Status BlockRange::check(std::uint64_t at, std::uint64_t count) const {
  if (at > size_bytes_ || count > size_bytes_ - at) {
    return Error(ErrorCode::kDiskImage, std::to_string(count) + " bytes at " + std::to_string(at) +
                                            " are not all inside the " +
                                            std::to_string(size_bytes_) + " bytes that there are");
  }
  if (offset_bytes_ > kMaxOffset || at > kMaxOffset - offset_bytes_ ||
      count > kMaxOffset - offset_bytes_ - at) {
    return Error(ErrorCode::kDiskImage,
                 std::to_string(offset_bytes_) + " is no place in any file on Linux");
  }
  return base::ok();
}

base::Status BlockRange::read(std::uint64_t at, std::span<std::uint8_t> buffer) const {
  OU_CHECK(check(at, buffer.size()));
  OU_TRY(const std::size_t got, base::read_at(fd_->get(), buffer, offset_bytes_ + at));
  if (got < buffer.size()) {
    return Error(ErrorCode::kDiskImage, "the file ends at " +
                                            std::to_string(offset_bytes_ + at + got) +
                                            ", before its content does; copy or download it again");
  }
  return base::ok();
}

base::Status BlockRange::write(std::uint64_t at, base::ByteView bytes) const {
  OU_CHECK(check(at, bytes.size()));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::pwrite(fd_->get(), bytes.data() + done, bytes.size() - done,
                                   static_cast<off_t>(offset_bytes_ + at + done));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return Error::from_errno(errno, "write at " + std::to_string(offset_bytes_ + at + done));
    }
    if (count == 0) {
      return Error(ErrorCode::kNoSpace,
                   "the medium ends at " + std::to_string(offset_bytes_ + at + done));
    }
    done += static_cast<std::size_t>(count);
  }
  return base::ok();
}

base::Result<BlockRange> BlockRange::part(std::uint64_t at, std::uint64_t size_bytes) const {
  OU_CHECK(check(at, size_bytes));
  return BlockRange(fd_, offset_bytes_ + at, size_bytes);
}

}  // namespace image
