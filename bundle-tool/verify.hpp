// bundle-tool verify: signatures, then every byte; says everything that is wrong, and where.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "console.hpp"
#include "outcome.hpp"

namespace tool {

struct VerifyOptions {
  std::filesystem::path bundle;
  std::vector<std::string> trust;  // as load_trust() takes them; at least one
  unsigned threads = 0;            // 0: as many as there are processors
};

/// \return with ExitCode::kNotVerified and the findings when something is wrong with the bundle
/// \error what kept it from finding out: ErrorCode::kBundleNotFound, kTrustInvalid, kPermission,
/// kIo
base::Result<Outcome> verify(const VerifyOptions& options, Console& console);

}  // namespace tool
