// What has to hold between the fields of a manifest, whoever made it.
#pragma once

#include "base/result.hpp"
#include "bundle/manifest.hpp"

namespace bundle {

/// Checks character sets, that services, images, layers and blobs name each other without a gap and
/// without a rest, and that chunk tables add up. The writer uses it too: it makes nothing that a
/// device would refuse.
/// \error ErrorCode::kManifestField, kChunkTable, kLimitExceeded, kBlobExpansion
base::Status check(const Manifest& manifest);

}  // namespace bundle
