// The bytes of a disk image from front to end, whatever it is compressed with.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "oci/byte_source.hpp"

namespace image {

enum class Compression { kNone, kZip, kGzip, kBzip2, kXz, kZstd };

/// "none", "zip", "gzip", "bzip2", "xz" or "zstd".
std::string_view name_of(Compression compression);

/// What the first bytes of a file say; the name of the file does not count.
base::Result<Compression> sniff_compression(const std::filesystem::path& path);

/// A disk image being read. A zip archive has to hold exactly one file that is an image.
class ImageStream : public oci::ByteSource {
 public:
  [[nodiscard]] virtual Compression compression() const = 0;
  /// Bytes of the uncompressed image, where the file says it.
  [[nodiscard]] virtual std::optional<std::uint64_t> size_bytes() const = 0;
  /// Bytes of the file itself, and how many of them have been read: for progress.
  [[nodiscard]] virtual std::uint64_t file_size_bytes() const = 0;
  [[nodiscard]] virtual std::uint64_t file_read_bytes() const = 0;
  /// Passes over a hole of a raw file that begins here, which would read as zeros.
  /// \return its length; 0 when there is data here, at the end, and in a compressed file
  virtual base::Result<std::uint64_t> skip_hole() = 0;
};

/// Opens an image for reading once. Every format is checked to its end: a truncated file is an
/// error, as is anything after the end of the compressed data. Memory is bounded: 256 MiB for xz, a
/// window of 128 MiB for zstd.
/// \error ErrorCode::kNotFound, kPermission, kIo; kDiskImage when it is no image that can be read;
///   the same from read()
base::Result<std::unique_ptr<ImageStream>> open_image_stream(const std::filesystem::path& path);

}  // namespace image
