// The data partition that image preload writes into: what is in it, how much larger it has to
// become, and the writing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.hpp"
#include "console.hpp"
#include "image/os_image.hpp"
#include "preload_release.hpp"

namespace tool {

/// What an image is, as far as preloading goes.
struct PreloadTarget {
  std::string supervisor_version;  // empty when it is not known
  bool has_been_started = false;   // a supervisor has a database in it
  std::string architecture;        // of the supervisor; empty when it is not known
};

/// \error ErrorCode::kDiskImageUnsupported for an encrypted data partition, or a supervisor that
///   reads no apps.json of version 3; kDiskImage
base::Result<PreloadTarget> look_at_target(const image::OsImage& os);

/// What will have to be free in the data partition.
base::Result<image::StoreNeed> measure_release(const image::OsImage& os,
                                               const PreloadRelease& release, bool measure_all,
                                               std::uint64_t additional_bytes, Console& console);

/// Makes room and writes. After an error the image has to be thrown away.
/// \param scratch a directory with room for what the data partition holds
/// \return bytes by which the image has grown
base::Result<std::uint64_t> write_release(image::OsImage& os, const PreloadRelease& release,
                                          const image::StoreNeed& need,
                                          const std::filesystem::path& scratch, Console& console);

}  // namespace tool
