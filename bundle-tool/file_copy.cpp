#include "file_copy.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/files.hpp"
#include "base/handle.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::size_t kBufferBytes = std::size_t{1} * 1024 * 1024;
constexpr std::size_t kAlignment = 4096;  // what O_DIRECT may ask for

using AlignedBuffer = base::Handle<std::uint8_t, std::free>;

Status copy_bytes(int from, int to, const ListedFile& file, base::ProgressSink& progress) {
  base::Bytes buffer(kBufferBytes);
  base::Sha256 hash;
  std::uint64_t offset = 0;
  while (true) {
    OU_TRY(const std::size_t count, base::read_at(from, buffer, offset).within("read it"));
    if (count == 0) {
      break;
    }
    const base::ByteView part = base::ByteView(buffer).first(count);
    hash.update(part);
    OU_CHECK(base::write_all(to, part).within("write it to the medium"));
    offset += count;
    progress.advance(count);
  }
  if (offset != file.size_bytes || oci::Digest(hash.finish()) != file.digest) {
    return Error(ErrorCode::kFileAltered,
                 "the source is not what its manifest says: verify the bundle and build it again");
  }
  return base::ok();
}

/// read() until the end. \return nothing when the descriptor cannot be read that way (EINVAL)
Result<std::optional<oci::Digest>> hash_descriptor(int fd, base::ProgressSink& progress) {
  const AlignedBuffer buffer(
      static_cast<std::uint8_t*>(std::aligned_alloc(kAlignment, kBufferBytes)));
  if (!buffer) {
    return Error(ErrorCode::kInternal, "no memory for reading back");
  }
  base::Sha256 hash;
  while (true) {
    const ssize_t count = ::read(fd, buffer.get(), kBufferBytes);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0 && errno == EINVAL) {
      return std::optional<oci::Digest>();
    }
    if (count < 0) {
      return Error::from_errno(errno, "read it back from the medium");
    }
    if (count == 0) {
      return std::optional(oci::Digest(hash.finish()));
    }
    hash.update(base::ByteView(buffer.get(), static_cast<std::size_t>(count)));
    progress.advance(static_cast<std::uint64_t>(count));
  }
}

}  // namespace

Status copy_file(const base::UntrustedDirectory& source, const ListedFile& file,
                 const std::filesystem::path& directory, base::ProgressSink& progress) {
  OU_TRY(const base::OpenedFile from, source.open_file(file.path).within(file.path));
  const std::filesystem::path path = directory / file.path;
  base::UniqueFd to(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!to.valid()) {
    return Error::from_errno(errno, "create " + path.string());
  }
  Status copied = copy_bytes(from.fd.get(), to.get(), file, progress);
  if (!copied) {
    ::unlink(path.c_str());
  }
  return std::move(copied).within(file.path);
}

Result<oci::Digest> read_back(const std::filesystem::path& path, base::ProgressSink& progress) {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW;
  const base::UniqueFd direct(::open(path.c_str(), kFlags | O_DIRECT));
  if (direct.valid()) {
    OU_TRY(const auto digest, hash_descriptor(direct.get(), progress).within(path.string()));
    if (digest) {
      return *digest;
    }
  }
  OU_TRY(const base::UniqueFd cached, base::open_file(path, kFlags));
  // Best effort: pages that are dirty or in use stay.
  static_cast<void>(::posix_fadvise(cached.get(), 0, 0, POSIX_FADV_DONTNEED));
  OU_TRY(const auto digest, hash_descriptor(cached.get(), progress).within(path.string()));
  if (!digest) {
    return Error(ErrorCode::kIo, path.string() + ": cannot be read back");
  }
  return *digest;
}

}  // namespace tool
