// The parts of a FAT file system that say the same thing twice: the copies of its table, and the
// free count of FAT32. balena's own command line leaves them behind when it writes.
#pragma once

#include "base/result.hpp"
#include "image/block_range.hpp"

namespace image {

/// Makes every copy of the table like the first, and the free count right.
/// \error as FatReader::open(); ErrorCode::kNoSpace, kIo
base::Status mend_fat(const BlockRange& volume);

/// \error ErrorCode::kDiskImage when a copy or the count is wrong, or FatReader::check() fails; kIo
base::Status check_fat(const BlockRange& volume);

}  // namespace image
