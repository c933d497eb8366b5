#include "image/image_stream.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/files.hpp"
#include "image/block_range.hpp"
#include "image/decoders.hpp"
#include "image/zip_member.hpp"
#include "oci/decoder.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
namespace fs = std::filesystem;

constexpr int kMaxZstdImageWindowLog = 27;  // what zstd itself takes without being asked

/// A stretch of a file from front to end.
class FileBytes final : public oci::ByteSource {
 public:
  FileBytes(SharedFd fd, std::uint64_t offset_bytes, std::uint64_t size_bytes)
      : fd_(std::move(fd)), at_(offset_bytes), end_(offset_bytes + size_bytes) {}

  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end_ - at_));
    OU_TRY(const std::size_t got, base::read_at(fd_->get(), buffer.first(want), at_));
    if (got < want) {
      return Error(ErrorCode::kIo, "the file became shorter while it was read");
    }
    at_ += got;
    return got;
  }

  Result<std::uint64_t> skip_hole() {
    if (at_ == end_) {
      return std::uint64_t{0};
    }
    const off_t data = ::lseek(fd_->get(), static_cast<off_t>(at_), SEEK_DATA);
    if (data < 0 && errno != ENXIO) {
      return errno == EINVAL ? Result<std::uint64_t>(std::uint64_t{0})  // knows no holes
                             : Error::from_errno(errno, "look for data in the image");
    }
    // ENXIO: there is only a hole up to the end.
    const std::uint64_t next = data < 0 ? end_ : std::min(static_cast<std::uint64_t>(data), end_);
    const std::uint64_t hole = next - std::min(at_, next);
    at_ += hole;
    return hole;
  }

  [[nodiscard]] std::uint64_t at() const { return at_; }

 private:
  SharedFd fd_;
  std::uint64_t at_;
  std::uint64_t end_;
};

class RawStream final : public ImageStream {
 public:
  RawStream(SharedFd fd, std::uint64_t size_bytes)
      : bytes_(std::move(fd), 0, size_bytes), size_bytes_(size_bytes) {}

  Result<std::size_t> read(std::span<std::uint8_t> buffer) override { return bytes_.read(buffer); }
  [[nodiscard]] Compression compression() const override { return Compression::kNone; }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return size_bytes_; }
  [[nodiscard]] std::uint64_t file_size_bytes() const override { return size_bytes_; }
  [[nodiscard]] std::uint64_t file_read_bytes() const override { return bytes_.at(); }
  Result<std::uint64_t> skip_hole() override { return bytes_.skip_hole(); }

 private:
  FileBytes bytes_;
  std::uint64_t size_bytes_;
};

class PackedStream final : public ImageStream {
 public:
  /// \param file what `content` unpacks and owns
  PackedStream(Compression compression, std::optional<std::uint64_t> size_bytes,
               std::uint64_t file_bytes, const FileBytes* file,
               std::unique_ptr<oci::ByteSource> content)
      : compression_(compression),
        size_bytes_(size_bytes),
        file_bytes_(file_bytes),
        file_(file),
        content_(std::move(content)) {}

  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    auto got = content_->read(buffer);
    if (!got && got.error().code() == ErrorCode::kImageInvalid) {
      return std::move(got).error().as(ErrorCode::kDiskImage);
    }
    return got;
  }
  [[nodiscard]] Compression compression() const override { return compression_; }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return size_bytes_; }
  [[nodiscard]] std::uint64_t file_size_bytes() const override { return file_bytes_; }
  [[nodiscard]] std::uint64_t file_read_bytes() const override { return file_->at(); }
  Result<std::uint64_t> skip_hole() override { return std::uint64_t{0}; }

 private:
  Compression compression_;
  std::optional<std::uint64_t> size_bytes_;
  std::uint64_t file_bytes_;
  const FileBytes* file_;
  std::unique_ptr<oci::ByteSource> content_;
};

struct OpenedImage {
  SharedFd fd;
  std::uint64_t size_bytes;
  Compression compression;
};

bool starts_with(base::ByteView bytes, std::string_view magic) {
  return base::as_text(bytes).starts_with(magic);
}

Compression sniff(base::ByteView first) {
  using namespace std::string_view_literals;
  if (starts_with(first, "PK\x03\x04"sv) || starts_with(first, "PK\x05\x06"sv)) {
    return Compression::kZip;
  }
  if (starts_with(first,
                  "\xFD"
                  "7zXZ\0"sv)) {
    return Compression::kXz;
  }
  if (starts_with(first, "BZh"sv) && first.size() > 3 && first[3] >= '1' && first[3] <= '9') {
    return Compression::kBzip2;
  }
  switch (oci::sniff_encoding(first)) {
    case oci::Encoding::kGzip:
      return Compression::kGzip;
    case oci::Encoding::kZstd:
      return Compression::kZstd;
    case oci::Encoding::kNone:
      break;
  }
  return Compression::kNone;
}

Result<OpenedImage> open_image(const fs::path& path) {
  // Without O_NONBLOCK opening a pipe would wait for somebody to write to it.
  OU_TRY(base::UniqueFd fd, base::open_file(path, O_RDONLY | O_NONBLOCK));
  struct stat facts {};
  if (::fstat(fd.get(), &facts) != 0) {
    return Error::from_errno(errno, "stat " + path.string());
  }
  if (!S_ISREG(facts.st_mode)) {
    return Error(ErrorCode::kDiskImage,
                 path.string() + " is not a regular file; name the file of a disk image");
  }
  if (facts.st_size == 0) {
    return Error(ErrorCode::kDiskImage, path.string() + " is empty; download it again");
  }
  std::array<std::uint8_t, 8> first{};
  OU_TRY(const std::size_t got, base::read_at(fd.get(), first, 0).within("read " + path.string()));
  return OpenedImage{std::make_shared<const base::UniqueFd>(std::move(fd)),
                     static_cast<std::uint64_t>(facts.st_size),
                     sniff(base::ByteView(first).first(got))};
}

Result<std::unique_ptr<ImageStream>> open_zip(const OpenedImage& image) {
  OU_TRY(const ZipMember member, find_image_in_zip(image.fd, image.size_bytes));
  auto bytes =
      std::make_unique<FileBytes>(image.fd, member.data_offset_bytes, member.compressed_bytes);
  const FileBytes* file = bytes.get();
  return std::make_unique<PackedStream>(Compression::kZip, member.size_bytes, image.size_bytes,
                                        file, open_zip_member(member, std::move(bytes)));
}

std::unique_ptr<oci::ByteSource> unpack(Compression compression,
                                        std::unique_ptr<oci::ByteSource> bytes) {
  switch (compression) {
    case Compression::kGzip:
      return oci::open_decoder(std::move(bytes), oci::Encoding::kGzip);
    case Compression::kZstd:
      return oci::open_decoder(std::move(bytes), oci::Encoding::kZstd, kMaxZstdImageWindowLog);
    case Compression::kBzip2:
      return open_bzip2(std::move(bytes));
    case Compression::kXz:
      return open_xz(std::move(bytes));
    case Compression::kNone:
    case Compression::kZip:
      break;
  }
  return bytes;
}

}  // namespace

std::string_view name_of(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "none";
    case Compression::kZip:
      return "zip";
    case Compression::kGzip:
      return "gzip";
    case Compression::kBzip2:
      return "bzip2";
    case Compression::kXz:
      return "xz";
    case Compression::kZstd:
      return "zstd";
  }
  return "unknown";
}

Result<Compression> sniff_compression(const fs::path& path) {
  OU_TRY(const OpenedImage image, open_image(path));
  return image.compression;
}

Result<std::unique_ptr<ImageStream>> open_image_stream(const fs::path& path) {
  OU_TRY(const OpenedImage image, open_image(path));
  // A hint, and only that: the result does not matter.
  static_cast<void>(::posix_fadvise(image.fd->get(), 0, 0, POSIX_FADV_SEQUENTIAL));
  if (image.compression == Compression::kNone) {
    return std::make_unique<RawStream>(image.fd, image.size_bytes);
  }
  if (image.compression == Compression::kZip) {
    return open_zip(image).within(path.string());
  }
  auto bytes = std::make_unique<FileBytes>(image.fd, 0, image.size_bytes);
  const FileBytes* file = bytes.get();
  return std::make_unique<PackedStream>(
      image.compression,
      image.compression == Compression::kXz ? xz_uncompressed_size(image.fd, image.size_bytes)
                                            : std::nullopt,
      image.size_bytes, file, unpack(image.compression, std::move(bytes)));
}

}  // namespace image
