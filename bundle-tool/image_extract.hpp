// bundle-tool image extract: the images inside a balenaOS image, as OCI layouts.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.hpp"
#include "console.hpp"
#include "outcome.hpp"

namespace tool {

struct ImageExtractOptions {
  std::filesystem::path image;
  std::string os;  // oci:DIR, or empty; so the others
  std::string supervisor;
  std::string release;
};

/// Writes what was asked for, each into a new directory that has its name only when everything is
/// there and proven. The release's target state lies in its directory as apps.json.
/// \error ErrorCode::kUsage when nothing is asked for, or a destination is none; kAlreadyExists;
/// those
///   of image::OsContent, LayoutWriter and parse_target_state()
base::Result<Outcome> image_extract(const ImageExtractOptions& options, Console& console);

}  // namespace tool
