// Decides what a bundle would do to a device: a pure function of the two.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "intake/verified_bundle.hpp"
#include "plan/device_facts.hpp"

namespace agent::plan {

struct PlannedImage {
  oci::Digest id;
  std::vector<std::string> services;  // that use it
  std::uint64_t missing_layers = 0;
  std::uint64_t transfer_bytes = 0;   // uncompressed bytes of the missing layers
  bool present = false;
};

struct InstallPlan {
  bool up_to_date = false;  // the release runs already: nothing to do
  std::string from_commit;
  std::string to_commit;
  std::vector<PlannedImage> images;
  std::uint64_t medium_bytes = 0;     // stored bytes to read
  std::uint64_t needed_bytes = 0;     // on the engine's file system, at the peak
  std::uint64_t needed_inodes = 0;
};

/// Compares dotted versions number by number; a pre-release or build suffix ("-rc1", "+rev2") counts only
/// when the numbers are equal. Longer than 255 bytes or without a number: nothing.
/// \return negative, zero or positive as for a < b, a == b, a > b
std::optional<int> compare_versions(std::string_view a, std::string_view b);

/// Fleet, device type, device list, architecture, sequence, OS and supervisor versions.
/// \error ErrorCode::kWrongFleet, kWrongDeviceType, kDeviceNotListed, kArchitecture, kSequenceOld,
///   kOsVersion, kSupervisorVersion; each message names both sides
base::Status check_compatibility(const bundle::Manifest& manifest, const DeviceFacts& facts);

/// \error those of check_compatibility(); ErrorCode::kNotEnoughSpace, kNotEnoughInodes with what is
///   needed, what is there and by how much it falls short
base::Result<InstallPlan> make_plan(const bundle::Manifest& manifest, const DeviceFacts& facts);

}  // namespace agent::plan
