// The options of `bundle-tool image preload`.
#pragma once

#include "image_preload.hpp"

namespace CLI {
class App;
}

namespace tool {

/// Declares the options; `options` outlives `command`.
void add_image_preload_options(CLI::App& command, ImagePreloadOptions& options);

}  // namespace tool
