// bundle-tool image flash: a disk image onto a drive, and proof that it arrived.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "console.hpp"
#include "outcome.hpp"

namespace tool {

struct ImageFlashOptions {
  std::filesystem::path image;
  std::filesystem::path drive;
  bool yes = false;  // do not ask
  bool no_verify = false;
  bool allow_fixed = false;  // also a drive that is not removable
};

/// Looks at image and drive, asks, writes, reads everything back, and makes the drive bootable as
/// the last step: whenever this is interrupted, the drive has no partition table.
/// \error ErrorCode::kDriveRefused, kUsage (nobody there to ask) before anything is written; those
///   of image::open_image_stream() and image::write_image()
base::Result<Outcome> image_flash(const ImageFlashOptions& options, Console& console);

}  // namespace tool
