#include "image/image_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/files.hpp"
#include "base/printable.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
using base::UniqueFd;

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr std::uint64_t kMaxImageBytes = std::uint64_t{1} << 40;
constexpr std::size_t kHoleBytes = std::size_t{64} * 1024;  // shorter runs of zeros are written

std::string shown(const std::filesystem::path& path) {
  return base::printable(path.string());
}

/// Opens a regular file or block device, and nothing else: not a FIFO that would never answer.
Result<UniqueFd> open_image(const std::filesystem::path& path, int flags) {
  OU_TRY(UniqueFd fd, base::open_file(path, flags | O_NONBLOCK));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return Error::from_errno(errno, "look at " + shown(path));
  }
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return Error(ErrorCode::kDiskImage, shown(path) + " is neither a file nor a block device");
  }
  return fd;
}

Result<BlockRange> whole_of(SharedFd fd) {
  const off_t end = ::lseek(fd->get(), 0, SEEK_END);
  if (end < 0) {
    return Error::from_errno(errno, "find the size of an image");
  }
  return BlockRange(std::move(fd), 0, static_cast<std::uint64_t>(end));
}

bool is_zero(base::ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

/// Writes what is not zero of `bytes`, in pieces whose places the file may leave empty.
Status write_sparse(const BlockRange& to, std::uint64_t at, base::ByteView bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kHoleBytes));
    if (!is_zero(piece)) {
      OU_CHECK(to.write(at, piece));
    }
    at += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return base::ok();
}

Status set_size(const SharedFd& fd, std::uint64_t size_bytes) {
  if (::ftruncate(fd->get(), static_cast<off_t>(size_bytes)) != 0) {
    return Error::from_errno(errno, "make a file of " + std::to_string(size_bytes) + " bytes");
  }
  return base::ok();
}

Result<SharedFd> unpack(const std::filesystem::path& path, const std::filesystem::path& scratch,
                        base::ProgressSink& progress) {
  OU_TRY(const auto stream, open_image_stream(path));
  OU_TRY(SharedFd fd, make_scratch_file(scratch));
  progress.phase("unpacking " + shown(path.filename()), stream->file_size_bytes());
  std::uint64_t known = 0;
  OU_TRY(const std::uint64_t size_bytes, store_sparse(*stream, fd, [&](std::uint64_t /*piece*/) {
           progress.advance(stream->file_read_bytes() - known);
           known = stream->file_read_bytes();
         }));
  static_cast<void>(size_bytes);
  return fd;
}

/// Reads until the buffer is full or the source ends: holes do not depend on how it is cut.
Result<std::size_t> read_full(oci::ByteSource& from, std::span<std::uint8_t> buffer) {
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    OU_TRY(const std::size_t got, from.read(buffer.subspan(filled)));
    if (got == 0) {
      break;
    }
    filled += got;
  }
  return filled;
}

/// The next stretch of `fd` that is not a hole, at or after `at` and before `end`.
struct Stretch {
  std::uint64_t start;
  std::uint64_t end;
};
Stretch next_data(int fd, std::uint64_t at, std::uint64_t end) {
  const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
  if (data < 0) {
    // ENXIO: nothing but a hole up to the end. Anything else: the file cannot tell, all is data.
    return errno == ENXIO ? Stretch{end, end} : Stretch{at, end};
  }
  const off_t hole = ::lseek(fd, data, SEEK_HOLE);
  const auto start = std::min(static_cast<std::uint64_t>(data), end);
  return {start, hole < 0 ? end : std::min(static_cast<std::uint64_t>(hole), end)};
}

}  // namespace

Result<ImageFile> ImageFile::open(const std::filesystem::path& path,
                                  const std::filesystem::path& scratch,
                                  base::ProgressSink& progress) {
  OU_TRY(UniqueFd fd, open_image(path, O_RDONLY));
  OU_TRY(const Compression compression, sniff_compression(path));
  if (compression == Compression::kNone) {
    OU_TRY(BlockRange whole, whole_of(std::make_shared<const UniqueFd>(std::move(fd))));
    return ImageFile(std::move(whole), compression);
  }
  OU_TRY(SharedFd unpacked, unpack(path, scratch, progress).within("unpack " + shown(path)));
  OU_TRY(BlockRange whole, whole_of(std::move(unpacked)));
  return ImageFile(std::move(whole), compression);
}

Result<ImageFile> ImageFile::open_for_change(const std::filesystem::path& path) {
  OU_TRY(const Compression compression, sniff_compression(path));
  if (compression != Compression::kNone) {
    const std::string name(name_of(compression));
    return Error(ErrorCode::kDiskImageUnsupported,
                 shown(path) + " is compressed (" + name +
                     ") and can only be read: unpack it first, with " +
                     (compression == Compression::kZip ? "unzip" : name + " -d") +
                     ", and name the unpacked image");
  }
  // For a block device O_EXCL means: not while it is mounted.
  std::error_code ignored;
  const int exclusive = std::filesystem::is_block_file(path, ignored) ? O_EXCL : 0;
  OU_TRY(UniqueFd fd, open_image(path, O_RDWR | exclusive));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK
               ? Error(ErrorCode::kUpdateInProgress,
                       shown(path) + " is being changed by another program: wait until it is done")
               : Error::from_errno(errno, "lock " + shown(path));
  }
  return of(std::make_shared<const UniqueFd>(std::move(fd)));
}

Result<ImageFile> ImageFile::of(SharedFd fd) {
  OU_TRY(BlockRange whole, whole_of(std::move(fd)));
  return ImageFile(std::move(whole), Compression::kNone);
}

Status ImageFile::grow_to(std::uint64_t size_bytes) {
  struct stat status {};
  if (::fstat(whole_.fd()->get(), &status) != 0) {
    return Error::from_errno(errno, "look at an image");
  }
  if (!S_ISREG(status.st_mode)) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "a block device cannot grow: change an image file and write that to the device");
  }
  if (size_bytes <= whole_.size_bytes()) {
    return base::ok();
  }
  OU_CHECK(set_size(whole_.fd(), size_bytes).within("grow the image"));
  whole_ = BlockRange(whole_.fd(), 0, size_bytes);
  return base::ok();
}

Status ImageFile::sync() const {
  if (::fsync(whole_.fd()->get()) != 0) {
    return Error::from_errno(errno, "write the image to the disk");
  }
  return base::ok();
}

Result<SharedFd> make_scratch_file(const std::filesystem::path& scratch) {
  UniqueFd fd(::open(scratch.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd.valid() && (errno == EOPNOTSUPP || errno == EISDIR)) {
    // A file system without nameless files: one that loses its name at once.
    std::string path = (scratch / "offline-updater-XXXXXX").string();
    fd.reset(::mkostemp(path.data(), O_CLOEXEC));
    if (fd.valid()) {
      ::unlink(path.c_str());
    }
  }
  if (!fd.valid()) {
    return Error::from_errno(errno, "make a file in " + shown(scratch));
  }
  return std::make_shared<const UniqueFd>(std::move(fd));
}

Result<std::uint64_t> store_sparse(oci::ByteSource& from, const SharedFd& to,
                                   const std::function<void(std::uint64_t)>& told) {
  const BlockRange target(to, 0, kMaxImageBytes);
  base::Bytes buffer(kPieceBytes);
  for (std::uint64_t at = 0;;) {
    OU_TRY(const std::size_t filled, read_full(from, buffer));
    if (filled == 0) {
      OU_CHECK(set_size(to, at));
      return at;
    }
    if (filled > kMaxImageBytes - at) {
      return Error(ErrorCode::kLimitExceeded, "the image is larger than 1 TiB");
    }
    OU_CHECK(write_sparse(target, at, base::ByteView(buffer).first(filled)));
    at += filled;
    told(filled);
  }
}

Status copy_sparse(const BlockRange& from, const SharedFd& to, base::ProgressSink& progress) {
  OU_CHECK(set_size(to, from.size_bytes()));
  const BlockRange target(to, 0, from.size_bytes());
  base::Bytes buffer(kPieceBytes);
  std::uint64_t at = 0;
  while (at < from.size_bytes()) {
    const std::uint64_t base = from.offset_bytes();
    const Stretch data = next_data(from.fd()->get(), base + at, base + from.size_bytes());
    progress.advance(data.start - base - at);
    for (at = data.start - base; at < data.end - base;) {
      const auto piece = std::span(buffer).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, data.end - base - at)));
      OU_CHECK(from.read(at, piece));
      OU_CHECK(write_sparse(target, at, piece));
      at += piece.size();
      progress.advance(piece.size());
    }
  }
  return base::ok();
}

}  // namespace image
