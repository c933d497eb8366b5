// What an engine takes on a disk, and how that is said. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "base/sizes.hpp"
#include "bundle/manifest.hpp"

namespace agent::plan {

/// A layer, with what an engine keeps of it beside its files.
base::Room layer_room(const bundle::Layer& layer);
/// An image beside its layers: configuration, tags, a container.
base::Room image_room();

/// "13 MB", rounded up.
std::string megabytes(std::uint64_t bytes);

}  // namespace agent::plan
