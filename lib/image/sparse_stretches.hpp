// Which parts of a stretch of a file are not zero, so that a copy of it can have holes.
#pragma once

#include <memory>
#include <vector>

#include "image/block_range.hpp"
#include "image/layer_tar.hpp"
#include "oci/byte_source.hpp"

namespace image {

/// Parts of `range` that are not all zero, in whole units of 64 KiB: what they are does not depend
/// on where the file itself has holes. \error ErrorCode::kIo, kDiskImage
base::Result<std::vector<Stretch>> data_stretches(const BlockRange& range);

/// The bytes of these parts, one after the other. Both outlive the source.
std::unique_ptr<oci::ByteSource> open_stretches(const BlockRange& range,
                                                const std::vector<Stretch>& stretches);

}  // namespace image
