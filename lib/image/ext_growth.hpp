// How much larger an ext4 file system has to become to have a given room.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "base/sizes.hpp"
#include "image/ext_file_system.hpp"

namespace image {

/// Bytes by which `files` has to grow so that `need` is free in it; 0 when it is already. What new
/// block groups take for themselves is counted; should resize2fs take more (for a longer table of
/// groups), then the answer after growing is not 0 yet.
/// \error ErrorCode::kLimitExceeded above 16 TiB
base::Result<std::uint64_t> missing_bytes(const ExtFileSystem& files, const base::Room& need);

}  // namespace image
