// What libblkid sees in a partition: the file system's type and label.
#pragma once

#include <string>

#include "base/result.hpp"
#include "image/block_range.hpp"

namespace image {

struct Probed {
  std::string type;   // "vfat", "ext4", "crypto_LUKS"; empty when nothing is recognised
  std::string label;  // hostile
};

/// \error ErrorCode::kIo
base::Result<Probed> probe(const BlockRange& range);

}  // namespace image
