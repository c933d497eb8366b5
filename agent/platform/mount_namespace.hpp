// Where the agent's mounts are seen: by itself alone.
#pragma once

#include "base/result.hpp"

namespace agent::platform {

/// Gives this process a mount namespace of its own: what the host mounts later is still seen here,
/// what is mounted here is seen by nobody else and goes with the process, however it ends. A
/// process that is started afterwards inherits it. Call it before the first thread starts:
/// unshare(2) acts on the calling thread alone. \error ErrorCode::kInternal when other threads run
/// already; kPermission; kIo \source unshare(2) CLONE_NEWNS; mount_namespaces(7): MS_SLAVE
base::Status enter_private_mount_namespace();

}  // namespace agent::platform
