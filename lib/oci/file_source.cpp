#include "oci/file_source.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/files.hpp"
#include "oci/decoder.hpp"

namespace oci {

using base::Error;
using base::ErrorCode;

base::Result<std::size_t> FileSource::read(std::span<std::uint8_t> buffer) {
  const std::uint64_t left = size_bytes_ - std::min(at_, size_bytes_);
  const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left));
  OU_TRY(const std::size_t got, base::read_at(fd_->get(), buffer.first(want), at_));
  if (got < want) {
    return Error(ErrorCode::kIo, "the file became shorter while it was read");
  }
  at_ += got;
  return got;
}

std::uint64_t FileSource::skip(std::uint64_t count) {
  const std::uint64_t step = std::min(count, size_bytes_ - std::min(at_, size_bytes_));
  at_ += step;
  return step;
}

base::Result<SharedFd> open_regular_file(const std::filesystem::path& path) {
  OU_TRY(base::UniqueFd fd, base::open_file(path, O_RDONLY | O_NONBLOCK));
  struct stat facts {};
  if (::fstat(fd.get(), &facts) != 0) {
    return Error::from_errno(errno, "stat " + path.string());
  }
  if (S_ISDIR(facts.st_mode)) {
    return Error(ErrorCode::kImageInvalid,
                 path.string() + " is a directory; an OCI image layout is named oci:DIR");
  }
  if (!S_ISREG(facts.st_mode)) {
    return Error(ErrorCode::kImageInvalid,
                 path.string() + " is not a regular file; copy it to a file first");
  }
  return std::make_shared<const base::UniqueFd>(std::move(fd));
}

base::Result<std::uint64_t> size_of(const SharedFd& fd) {
  struct stat facts {};
  if (::fstat(fd->get(), &facts) != 0) {
    return Error::from_errno(errno, "stat");
  }
  return static_cast<std::uint64_t>(facts.st_size);
}

base::Result<Spool> Spool::create(const std::filesystem::path& directory) {
  std::string path = (directory / ".image-XXXXXX").string();
  base::UniqueFd fd(::mkostemp(path.data(), O_CLOEXEC));
  if (!fd.valid()) {
    return Error::from_errno(errno, "make a temporary file in " + directory.string());
  }
  if (::unlink(path.c_str()) != 0) {
    return Error::from_errno(errno, "unlink " + path);
  }
  return Spool(std::move(fd));
}

base::Status Spool::append(base::ByteView bytes) {
  size_bytes_ += bytes.size();
  if (size_bytes_ > kMaxSpoolBytes) {
    return Error(ErrorCode::kLimitExceeded, "the uncompressed archive is larger than 64 GiB");
  }
  return base::write_all(fd_.get(), bytes).within("store the image in the scratch directory");
}

base::Result<SharedFd> open_plain_archive(const std::filesystem::path& path,
                                          const std::filesystem::path& scratch) {
  OU_TRY(const SharedFd file, open_regular_file(path));
  OU_TRY(const std::uint64_t size_bytes, size_of(file));
  std::array<std::uint8_t, 4> first{};
  OU_TRY(const std::size_t got, base::read_at(file->get(), first, 0));
  const Encoding encoding = sniff_encoding(base::ByteView(first).first(got));
  if (encoding == Encoding::kNone) {
    return file;
  }
  const auto decoder = open_decoder(std::make_unique<FileSource>(file, size_bytes), encoding);
  OU_TRY(Spool spool, Spool::create(scratch));
  base::Bytes buffer(std::size_t{256} * 1024);
  for (;;) {
    OU_TRY(const std::size_t count, decoder->read(buffer));
    if (count == 0) {
      return spool.finish();
    }
    OU_CHECK(spool.append(base::ByteView(buffer).first(count)));
  }
}

}  // namespace oci
