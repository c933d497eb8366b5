// Writes a disk image to a drive so that it either arrives as it is or does not look like one: the
// first megabyte, with boot loader and partition table, is written last, when all else is on the
// medium and has been read back.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "image/block_target.hpp"
#include "image/image_stream.hpp"

namespace image {

/// What is cleared at both ends of a drive before anything else: room for every partition table,
/// with GPT's second header, and for what RAID and other systems leave at a drive's end.
inline constexpr std::uint64_t kDriveEndBytes = std::uint64_t{1} << 20U;

struct WrittenImage {
  std::uint64_t size_bytes = 0;  // of the image
  std::uint64_t data_bytes = 0;  // that were written, and not left or made zero
  bool verified = false;
};

struct WriteOptions {
  bool verify = true;
  const std::atomic<bool>* stop = nullptr;  // looked at all the time; may be set by a signal
};

/// Everything of the image is on the medium when this returns: data as data, zeros as
/// BlockTarget::zero() makes them; with verify it was read back from there. Old data stays only
/// behind the end of the image, up to the last megabyte of the drive.
/// After an error the drive has no partition table.
/// \error ErrorCode::kDriveRefused when the drive is too small, before anything is written;
///   kNoSpace when that shows only at its end (the size of some compressed images is not known
///   before); kDriveAltered when it reads back differently; kCancelled; kIo and those of the stream
base::Result<WrittenImage> write_image(ImageStream& image, BlockTarget& drive,
                                       const WriteOptions& options, base::ProgressSink& progress);

}  // namespace image
