// What is on a medium, as libblkid reads it. Nothing is mounted.
#pragma once

#include <filesystem>
#include <vector>

#include "base/result.hpp"
#include "media/media_policy.hpp"

namespace agent::platform {

/// The volumes of a medium: its partitions, or the disk itself when it has no partition table. An
/// entry of the table for which the kernel has no device is there too, without number and file
/// system, so that policy sees its type and flags. A place with marks of several file systems is
/// given the file system "ambiguous".
/// \param node_directory where nodes for the time of the look are made
/// \error ErrorCode::kMediumGone, kPermission, kIo
/// \source libblkid: low-level superblocks and partitions probing
base::Result<std::vector<media::Volume>> probe_volumes(const media::Medium& medium,
                                                       const std::filesystem::path& node_directory);

}  // namespace agent::platform
