// A release in the words of the supervisor: apps.json in its v3 form, or a fleet's target state.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "release_draft.hpp"

namespace tool {

inline constexpr std::size_t kMaxTargetStateBytes = std::size_t{8} * 1024 * 1024;

/// Reads `{"apps": {UUID: ...}, ...}` (apps.json v3) or `{UUID: {"name", "apps", "config"}}` (what
/// balenaCloud answers for a fleet). Other apps in it (host OS, supervisor) are left out with a
/// warning. Ids may be missing. Fields that nobody knows are left out with a warning.
/// \param fleet_uuid which app; empty: the only one of class "fleet"
/// \error ErrorCode::kTargetStateInvalid: the older forms (v1, v2), no such app, not exactly one
///   release, a field of the wrong type; kLimitExceeded
/// \source balena-os/balena-supervisor src/types/state.ts, src/types/basic.ts
base::Result<ReleaseDraft> parse_target_state(std::string_view json, const std::string& fleet_uuid);

}  // namespace tool
