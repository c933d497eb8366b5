// Looks at the host OS, its slots and its boot partition for a plan. Changes nothing.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "plan/device_facts.hpp"

namespace agent {

/// \error ErrorCode::kDeviceFacts: this is no balenaOS with two slots, or it cannot be read
base::Result<plan::OsFacts> survey_os(const std::filesystem::path& host_root);

}  // namespace agent
