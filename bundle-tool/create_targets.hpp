// Which devices a new bundle is for, from the options of `bundle-tool create`.
#pragma once

#include "create.hpp"

namespace tool {

/// The targets as the manifest has them: sorted, without repetitions. The device types may be empty
/// if there is a host OS, which names its own. \param release_fleet_uuid empty: the release names
/// none
/// \error ErrorCode::kUsage
base::Result<bundle::Targets> resolve_targets(const CreateOptions& options,
                                              const std::string& release_fleet_uuid);

}  // namespace tool
