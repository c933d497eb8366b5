// Decides what a bundle would do to a device: a pure function of the two.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "plan/device_facts.hpp"

namespace agent::plan {

struct PlannedImage {
  oci::Digest id;
  std::vector<std::string> services;  // that use it
  std::uint64_t missing_layers = 0;
  std::uint64_t transfer_bytes = 0;  // uncompressed bytes of the missing layers
  bool present = false;
};

struct InstallPlan {
  bool up_to_date = false;  // the release runs already: nothing to do
  std::string from_commit;
  std::string to_commit;
  std::vector<PlannedImage> images;
  std::uint64_t medium_bytes = 0;  // stored bytes to read
  std::uint64_t needed_bytes = 0;  // on the engine's file system, at the peak
  std::uint64_t needed_inodes = 0;
};

/// \error those of check_compatibility(); ErrorCode::kNotEnoughSpace, kNotEnoughInodes with what is
///   needed, what is there and by how much it falls short
base::Result<InstallPlan> make_plan(const bundle::Manifest& manifest, const DeviceFacts& facts);

}  // namespace agent::plan
