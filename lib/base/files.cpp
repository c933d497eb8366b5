#include "base/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

namespace base {
namespace {

constexpr std::size_t kReadPieceBytes = std::size_t{64} * 1024;

Error io_error(const char* doing, const std::filesystem::path& path) {
  return Error::from_errno(errno, std::string(doing) + " " + path.string());
}

}  // namespace

Result<UniqueFd> open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) {
    return io_error("open", path);
  }
  return fd;
}

Result<Bytes> read_to_end(int fd, std::uint64_t limit_bytes) {
  Bytes bytes;
  for (;;) {
    const std::size_t start = bytes.size();
    // One byte more than allowed shows that there is more; bytes.size() never exceeds the limit
    // here.
    const std::uint64_t left = limit_bytes - start;
    const auto want = left < kReadPieceBytes ? static_cast<std::size_t>(left) + 1 : kReadPieceBytes;
    bytes.resize(start + want);
    const ssize_t got = ::read(fd, bytes.data() + start, want);
    if (got < 0 && errno == EINTR) {
      bytes.resize(start);
      continue;
    }
    if (got < 0) {
      return Error::from_errno(errno, "read");
    }
    bytes.resize(start + static_cast<std::size_t>(got));
    if (got == 0) {
      return bytes;
    }
    if (bytes.size() > limit_bytes) {
      return Error(ErrorCode::kLimitExceeded,
                   "larger than the limit of " + std::to_string(limit_bytes) + " bytes");
    }
  }
}

Result<Bytes> read_file(const std::filesystem::path& path, std::uint64_t limit_bytes) {
  OU_TRY(const UniqueFd fd, open_file(path, O_RDONLY));
  return read_to_end(fd.get(), limit_bytes).within("read " + path.string());
}

Result<std::size_t> read_at(int fd, std::span<std::uint8_t> buffer, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t got =
        ::pread(fd, buffer.data() + done, buffer.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return Error::from_errno(errno, "read at offset " + std::to_string(offset + done));
    }
    if (got == 0) {
      break;
    }
    done += static_cast<std::size_t>(got);
  }
  return done;
}

Status write_all(int fd, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put < 0) {
      return Error::from_errno(errno, "write");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return ok();
}

Status sync_directory(const std::filesystem::path& path) {
  OU_TRY(const UniqueFd fd, open_file(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) {
    return io_error("sync directory", path);
  }
  return ok();
}

Status write_file_durably(const std::filesystem::path& path, ByteView bytes, unsigned mode) {
  auto temporary = path;
  temporary += ".new";
  // What an earlier attempt left behind goes, link or file: it is neither followed nor reused,
  // since it may have another mode. If it cannot go, O_EXCL says so.
  static_cast<void>(::unlink(temporary.c_str()));
  OU_TRY(UniqueFd fd, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  auto written = write_all(fd.get(), bytes);
  if (written && ::fsync(fd.get()) != 0) {
    written = Error::from_errno(errno, "sync");
  }
  fd.reset();
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = Error::from_errno(errno, "rename");
  }
  if (!written) {
    ::unlink(temporary.c_str());
    return std::move(written).within("write " + path.string());
  }
  return sync_directory(path.parent_path());
}

Status write_new_file(const std::filesystem::path& path, ByteView bytes, unsigned mode) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd.valid()) {
    return errno == EEXIST ? Error(ErrorCode::kAlreadyExists, path.string() + " is there already")
                           : io_error("create", path);
  }
  auto written = write_all(fd.get(), bytes);
  if (written && ::fsync(fd.get()) != 0) {
    written = Error::from_errno(errno, "sync");
  }
  if (written) {
    written = sync_directory(path.parent_path());
  }
  if (!written) {
    ::unlink(path.c_str());
    return std::move(written).within("write " + path.string());
  }
  return ok();
}

Status remove_file_durably(const std::filesystem::path& path) {
  const bool removed = ::unlink(path.c_str()) == 0;
  if (!removed && errno != ENOENT) {
    return io_error("remove", path);
  }
  // Also when it was gone before: an earlier attempt may have failed at just this.
  auto synced = sync_directory(path.parent_path());
  if (!removed && !synced && synced.error().code() == ErrorCode::kNotFound) {
    return ok();
  }
  return synced;
}

}  // namespace base
