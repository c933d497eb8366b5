// A release switch as the journal keeps it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "install/apps_step.hpp"

namespace agent::install {

std::string to_json(const ReleaseSwitch& change);

/// Reads what to_json() wrote. \error ErrorCode::kJournal
base::Result<ReleaseSwitch> parse_release_switch(std::string_view json);

}  // namespace agent::install
