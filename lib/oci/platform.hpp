// Operating system and processor, as indexes name them. Private to this library.
#pragma once

#include <string>

#include "base/result.hpp"

namespace oci {

struct Platform {
  std::string os;  // empty: not given
  std::string architecture;
  std::string variant;  // often empty
};

/// "linux/arm64" or "linux/arm/v7"; empty text gives an empty platform. \error ErrorCode::kUsage
base::Result<Platform> parse_platform(const std::string& text);

std::string to_text(const Platform& platform);

/// Whether an image for `image` is what `wanted` asks for. A wanted platform without a variant
/// takes any; arm64 and arm64/v8 are the same.
bool runs_on(const Platform& image, const Platform& wanted);

}  // namespace oci
