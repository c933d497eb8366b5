// Directory blocks as the disk has them, read with every check that hostile ones need. Private to
// this library.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/result.hpp"

namespace image {

struct RawEntry {
  std::string_view name;  // not empty, without '/' and zero bytes; may be "." or ".."
  std::uint32_t inode;    // one that there is
};

/// Calls `visit` for each entry, in the order of the blocks, until it returns false.
/// \error ErrorCode::kDiskImage when `directory` is none, or is damaged; kIo
base::Status each_entry(ext2_filsys handle, std::uint32_t directory,
                        const std::function<bool(const RawEntry&)>& visit);

}  // namespace image
