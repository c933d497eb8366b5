// The facts of image inspect in words. Private to image inspect.
#pragma once

#include <string>
#include <string_view>

namespace tool {

/// \param facts image inspect's own JSON
std::string describe_image(std::string_view facts);

}  // namespace tool
