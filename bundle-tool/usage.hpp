// The error for a command line or an input file that cannot be used.
#pragma once

#include <string>

#include "base/error.hpp"

namespace tool {

/// \param what what is wrong, and what to do about it \return ErrorCode::kUsage
inline base::Error usage(const std::string& what) {
  return {base::ErrorCode::kUsage, what};
}

}  // namespace tool
