// bundle-tool image inspect: what a balenaOS image holds, as far as it can be read.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "console.hpp"
#include "outcome.hpp"

namespace tool {

struct ImageInspectOptions {
  std::filesystem::path image;
  std::filesystem::path scratch;  // empty: $TMPDIR, else /var/tmp
};

/// Shows partitions, configuration, host OS, supervisor and release. A part that cannot be read is
/// a line that says so. Secrets of config.json are never shown. \error those of ImageFile::open()
/// and OsImage::open(): there is no image to show
base::Result<Outcome> image_inspect(const ImageInspectOptions& options, Console& console);

}  // namespace tool
