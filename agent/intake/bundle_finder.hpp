// Finds bundles on a mounted medium, by name only.
#pragma once

#include <string>
#include <vector>

#include "base/directory.hpp"
#include "base/result.hpp"

namespace agent::intake {

inline constexpr std::size_t kMaxRootEntries = 4096;
inline constexpr std::size_t kMaxBundles = 64;

/// Directories at the root whose name ends with ".bundle" (in any case), without litter, in byte
/// order. A link or file of such a name is reported in `refused`.
struct FoundBundles {
  std::vector<std::string> names;
  std::vector<std::pair<std::string, base::Error>> refused;
};

/// \error ErrorCode::kLimitExceeded, kIo
base::Result<FoundBundles> find_bundles(const base::UntrustedDirectory& root);

}  // namespace agent::intake
