#include "image/block_target.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::size_t kLookBytes = std::size_t{1} << 20U;

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t size_bytes)
    : bytes_(static_cast<std::uint8_t*>(std::aligned_alloc(kBlockBytes, size_bytes))),
      size_bytes_(size_bytes) {
  if (!bytes_) {
    throw std::bad_alloc();
  }
  std::memset(bytes_.get(), 0, size_bytes);
}

bool is_all_zero(base::ByteView bytes) {
  // Each byte equals the one before it, and the first is zero.
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

Result<BlockTarget> BlockTarget::open(const std::filesystem::path& path, dev_t expected) {
  // O_EXCL without O_CREAT: nobody else may hold the device, neither a mount nor another program.
  base::UniqueFd fd(::open(path.c_str(), O_RDWR | O_EXCL | O_DIRECT | O_CLOEXEC));
  if (!fd.valid()) {
    switch (errno) {
      case EBUSY:
        return Error(ErrorCode::kDriveRefused,
                     path.string() + " is in use: unmount what is on it, or end what uses it");
      case EROFS:
        return Error(ErrorCode::kDriveRefused,
                     path.string() + " is read-only: a card may have a switch for that");
      case EACCES:
      case EPERM:
        return Error(ErrorCode::kPermission,
                     path.string() +
                         " may not be written to by this user: use sudo, or join the "
                         "group that the device belongs to");
      default:
        return Error::from_errno(errno, "open " + path.string());
    }
  }
  struct stat status {};
  std::uint64_t size_bytes = 0;
  int block_bytes = 0;
  if (::fstat(fd.get(), &status) != 0) {
    return Error::from_errno(errno, "look at " + path.string());
  }
  if (!S_ISBLK(status.st_mode) || status.st_rdev != expected) {
    return Error(ErrorCode::kDriveRefused,
                 path.string() + " has become another drive meanwhile; look at bundle-tool drives");
  }
  if (::ioctl(fd.get(), BLKGETSIZE64, &size_bytes) != 0 ||
      ::ioctl(fd.get(), BLKSSZGET, &block_bytes) != 0) {
    return Error::from_errno(errno, "find the size of " + path.string());
  }
  if (block_bytes < 512 || block_bytes > static_cast<int>(kBlockBytes)) {
    return Error(ErrorCode::kDriveRefused, path.string() + " has blocks of " +
                                               std::to_string(block_bytes) +
                                               " bytes; at most 4096 can be handled");
  }
  return BlockTarget(std::move(fd), size_bytes, static_cast<std::uint32_t>(block_bytes),
                     path.string());
}

Error BlockTarget::failure(int error_number, const std::string& doing, std::uint64_t at) const {
  std::uint64_t size_bytes = 0;
  const bool gone = error_number == ENODEV || error_number == ENXIO || error_number == ENOMEDIUM ||
                    ::ioctl(fd_.get(), BLKGETSIZE64, &size_bytes) != 0 || size_bytes == 0;
  if (gone) {
    return Error(ErrorCode::kIo, name_ + " is gone: it was pulled out, or its connection is bad");
  }
  return Error(ErrorCode::kIo, doing + " " + name_ + " at byte " + std::to_string(at) + ": " +
                                   std::strerror(error_number) +
                                   "; the drive or its connection is bad");
}

Status BlockTarget::write(std::uint64_t at, base::ByteView bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      return failure(count < 0 ? errno : EIO, "write to", at);
    }
    at += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return base::ok();
}

Status BlockTarget::read(std::uint64_t at, std::span<std::uint8_t> buffer) const {
  while (!buffer.empty()) {
    const ssize_t count = ::pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      return failure(count < 0 ? errno : ENXIO, "read back from", at);
    }
    at += static_cast<std::uint64_t>(count);
    buffer = buffer.subspan(static_cast<std::size_t>(count));
  }
  return base::ok();
}

Status BlockTarget::zero(std::uint64_t at, std::uint64_t size_bytes) {
  if (zeroes_by_command_) {
    if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                    static_cast<off_t>(size_bytes)) == 0) {
      return base::ok();
    }
    // Bridges that lack the command answer with all kinds of errors; if it is the drive that is
    // bad, writing says so.
    zeroes_by_command_ = false;
  }
  return zero_where_needed(at, size_bytes);
}

Status BlockTarget::zero_where_needed(std::uint64_t at, std::uint64_t size_bytes) {
  constexpr unsigned kMaxDoublings = 6;
  const AlignedBuffer zeros(kLookBytes);
  const AlignedBuffer there(kLookBytes);
  const std::uint64_t end = at + size_bytes;
  std::uint64_t step = 0;
  for (; at < end; at += step) {
    step = std::min<std::uint64_t>(kLookBytes, end - at);
    const std::size_t length = step;
    if (blind_steps_ > 0) {
      --blind_steps_;
    } else {
      OU_CHECK(read(at, there.span().first(length)));
      if (is_all_zero(there.span().first(length))) {
        old_data_in_a_row_ = 0;
        continue;
      }
      old_data_in_a_row_ = std::min(old_data_in_a_row_ + 1, kMaxDoublings);
      blind_steps_ = (1U << old_data_in_a_row_) - 1;
    }
    OU_CHECK(write(at, zeros.span().first(length)));
  }
  return base::ok();
}

Status BlockTarget::sync() const {
  return ::fsync(fd_.get()) == 0 ? base::ok() : Status(failure(errno, "sync", 0));
}

void BlockTarget::drop_cache() const {
  static_cast<void>(::ioctl(fd_.get(), BLKFLSBUF, 0));
}

void BlockTarget::reread_partitions() const {
  static_cast<void>(::ioctl(fd_.get(), BLKRRPART, 0));
}

}  // namespace image
