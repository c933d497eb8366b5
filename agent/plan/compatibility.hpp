// Whether a bundle is meant for this device at all. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "plan/device_facts.hpp"

namespace agent::plan {

/// Compares dotted versions number by number; a pre-release or build suffix ("-rc1", "+rev2")
/// counts only when the numbers are equal. Longer than 255 bytes or without a number: nothing.
/// \return negative, zero or positive as for a < b, a == b, a > b
std::optional<int> compare_versions(std::string_view a, std::string_view b);

/// Fleet, device type, device list, architecture, sequence, OS and supervisor versions.
/// \error ErrorCode::kWrongFleet, kWrongDeviceType, kDeviceNotListed, kArchitecture, kSequenceOld,
///   kOsVersion, kSupervisorVersion; each message names both sides
base::Status check_compatibility(const bundle::Manifest& manifest, const DeviceFacts& facts);

}  // namespace agent::plan
