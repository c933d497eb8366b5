// bundle-tool drives: which drives there are, and which of them an image may be written to.
#pragma once

#include <string>

#include "base/result.hpp"
#include "outcome.hpp"

namespace tool {

struct DrivesOptions {
  bool all = false;  // virtual ones, too
};

/// \error ErrorCode::kIo, kPermission
base::Result<Outcome> drives(const DrivesOptions& options);

/// "31.9 GB": as it is printed on drives, 10^9 bytes.
std::string drive_size_text(std::uint64_t bytes);

}  // namespace tool
