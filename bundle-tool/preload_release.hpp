// A release as image preload puts it into an image: its images, opened, and apps.json; from a
// bundle or from a target state with a source for each image.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bundle/chunks.hpp"
#include "bundle/manifest.hpp"
#include "console.hpp"
#include "image/store_writer.hpp"
#include "image_preload.hpp"

namespace tool {

struct PreloadRelease {
  std::string fleet_uuid;
  bundle::Release release;
  std::string config_json = "{}";  // configuration variables
  bool pin = false;
  std::vector<image::NewImage> images;  // each image once, whatever number of services have it
};

/// Opens the bundle or the target state and its images. A bundle without signature, or whose
/// signatures nobody asked to verify, is a warning.
/// \param scratch where sources may put what they have to keep for a while
/// \error ErrorCode::kUsage; kNothingToInstall for a bundle without release; those of
///   bundle::open_manifest(), bundle::check_layout(), parse_target_state(),
///   oci::open_image_source()
base::Result<PreloadRelease> open_release(const ImagePreloadOptions& options,
                                          const std::filesystem::path& scratch, Console& console);

/// apps.json in its v3 form. Ids that the release does not say are above all that balenaCloud
/// gives. \param app_id the fleet's id, if the image's config.json says it \source
/// engine-and-supervisor.md section 1
std::string apps_json(const PreloadRelease& release);

}  // namespace tool
