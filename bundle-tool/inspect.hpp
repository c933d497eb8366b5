// bundle-tool inspect: what a person wants to know before shipping a bundle.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "outcome.hpp"

namespace tool {

struct InspectOptions {
  std::filesystem::path bundle;
  std::vector<std::string> trust;  // empty: signatures are listed, not verified
};

/// Reads the manifest and the signatures, no blobs.
/// \error ErrorCode::kBundleNotFound, kBundleLayout; with trust those of bundle::open_manifest(),
///   otherwise those of bundle::parse_manifest()
base::Result<Outcome> inspect(const InspectOptions& options);

}  // namespace tool
