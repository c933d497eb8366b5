// Limits that both kinds of key files share: those that sign bundles and those of sealed exports.
#pragma once

#include <cstddef>

namespace bundle {

inline constexpr std::size_t kMaxKeyFileBytes = 4096;
inline constexpr std::size_t kMaxPasswordBytes = 1024;

}  // namespace bundle
