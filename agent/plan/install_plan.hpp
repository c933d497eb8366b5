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
  bool up_to_date = false;  // nothing to do: the device has all of it
  bool install_os = false;
  bool change_settings = false;  // supervisor, config.json or connections
  bool switch_release = false;
  std::string from_os;  // versions; empty: the bundle has no host OS
  std::string to_os;
  std::string from_commit;
  std::string to_commit;
  std::vector<PlannedImage> images;  // for the data partition: all but the host OS
  std::uint64_t medium_bytes = 0;    // stored bytes to read
  std::uint64_t needed_bytes = 0;    // on the engine's file system, at the peak
  std::uint64_t needed_inodes = 0;
};

/// \error those of check_compatibility(), check_os() and check_supervisor();
/// ErrorCode::kNotEnoughSpace, kNotEnoughInodes with what is
///   needed, what is there and by how much it falls short
base::Result<InstallPlan> make_plan(const bundle::Manifest& manifest, const DeviceFacts& facts);

}  // namespace agent::plan
