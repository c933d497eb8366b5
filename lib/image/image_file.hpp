// A disk image with random access: the raw file itself, or a compressed one unpacked to a nameless
// scratch file.
#pragma once

#include <filesystem>
#include <functional>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "image/block_range.hpp"
#include "image/image_stream.hpp"
#include "oci/byte_source.hpp"

namespace image {

class ImageFile {
 public:
  /// For reading. \param scratch directory for what has to be unpacked (sparse, vanishes by itself)
  /// \error those of open_image_stream(); kNoSpace
  static base::Result<ImageFile> open(const std::filesystem::path& path,
                                      const std::filesystem::path& scratch,
                                      base::ProgressSink& progress);

  /// For changing in place; locked (flock) against a second program that does the same.
  /// \error ErrorCode::kDiskImageUnsupported when it is compressed, with what to do instead;
  ///   kUpdateInProgress when it is locked; kNotFound, kPermission, kIo
  static base::Result<ImageFile> open_for_change(const std::filesystem::path& path);

  /// An image that is in a file without name already.
  static base::Result<ImageFile> of(SharedFd fd);

  [[nodiscard]] const BlockRange& whole() const { return whole_; }
  [[nodiscard]] Compression compression() const { return compression_; }

  /// Makes the file longer; whole() covers it afterwards. New bytes are zero, and a hole.
  /// \error ErrorCode::kNoSpace, kIo
  base::Status grow_to(std::uint64_t size_bytes);
  /// fsync(). \error ErrorCode::kIo
  [[nodiscard]] base::Status sync() const;

 private:
  ImageFile(BlockRange whole, Compression compression)
      : whole_(std::move(whole)), compression_(compression) {}
  BlockRange whole_;
  Compression compression_;
};

/// A nameless file in `scratch`, for a part of an image. \error ErrorCode::kNoSpace, kIo
base::Result<SharedFd> make_scratch_file(const std::filesystem::path& scratch);

/// Writes all of `from` to the start of the empty file `to`, leaving holes for zeros.
/// \param told is told of each piece's size after it was written
/// \return bytes written \error those of from.read(); ErrorCode::kLimitExceeded above 1 TiB;
///   kNoSpace, kIo
base::Result<std::uint64_t> store_sparse(oci::ByteSource& from, const SharedFd& to,
                                         const std::function<void(std::uint64_t)>& told);

/// Copies `from` over the start of the file `to`, leaving holes where `from` has holes or zeros.
/// `to` has to be empty. \error ErrorCode::kNoSpace, kIo
base::Status copy_sparse(const BlockRange& from, const SharedFd& to, base::ProgressSink& progress);

}  // namespace image
