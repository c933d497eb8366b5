// docker-compose.yml as the description of a release.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "release_draft.hpp"

namespace tool {

/// Reads a compose file. Services, environment, labels, volumes and networks become those of the
/// release; what else a service says becomes its composition, the way balenaCloud stores it:
/// without build, image, environment and labels. Fields that the supervisor drops are kept and
/// warned about. \error ErrorCode::kComposeInvalid: not a compose file; env_file, extends, include,
/// secrets,
///   configs, variables (`${X}`), environment entries without a value; kLimitExceeded
/// \source compose specification; balena-os/balena-supervisor src/compose/sanitise.ts, service.ts
base::Result<ReleaseDraft> parse_compose(std::string_view yaml);

}  // namespace tool
