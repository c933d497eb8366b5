#include "oci/platform.hpp"

#include "base/printable.hpp"

namespace oci {
namespace {

std::string plain_variant(const Platform& platform) {
  return platform.architecture == "arm64" && platform.variant == "v8" ? "" : platform.variant;
}

}  // namespace

base::Result<Platform> parse_platform(const std::string& text) {
  if (text.empty()) {
    return Platform{};
  }
  const std::size_t first = text.find('/');
  const std::size_t second = first == std::string::npos ? first : text.find('/', first + 1);
  Platform platform;
  if (first != std::string::npos) {
    platform.os = text.substr(0, first);
    platform.architecture = text.substr(first + 1, second - first - 1);
    platform.variant = second == std::string::npos ? "" : text.substr(second + 1);
  }
  if (platform.os.empty() || platform.architecture.empty() || text.ends_with('/') ||
      platform.variant.find('/') != std::string::npos) {
    return base::Error(base::ErrorCode::kUsage,
                       "platform \"" + base::printable(text) +
                           "\" is not of the form linux/arm64 or linux/arm/v7");
  }
  return platform;
}

std::string to_text(const Platform& platform) {
  return platform.os + "/" + platform.architecture +
         (platform.variant.empty() ? "" : "/" + platform.variant);
}

bool runs_on(const Platform& image, const Platform& wanted) {
  return image.os == wanted.os && image.architecture == wanted.architecture &&
         (wanted.variant.empty() || plain_variant(image) == plain_variant(wanted));
}

}  // namespace oci
