// bundle-tool image preload: puts a release's images and its target state into the data partition
// of a balenaOS image, so that a device starts it without any network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "console.hpp"
#include "outcome.hpp"

namespace tool {

struct ImagePreloadOptions {
  std::filesystem::path image;
  std::filesystem::path bundle;  // one of these two
  std::filesystem::path target_state;
  std::vector<std::string> trust;   // for the bundle; empty: signatures are not verified
  std::vector<std::string> images;  // SERVICE=SOURCE
  std::string platform;
  bool pin = false;
  std::uint64_t additional_bytes = 0;  // to be left free
};

/// Works on a sparse copy, IMG.partial, which replaces the image once everything is on the disk:
/// until then the image is as it was.
/// \error ErrorCode::kUsage; kDiskImageUnsupported for images that cannot be preloaded, saying what
///   to do instead; those of open_release(), image::write_images(), image::OsImage
base::Result<Outcome> image_preload(const ImagePreloadOptions& options, Console& console);

}  // namespace tool
