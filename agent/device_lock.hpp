// Two locks in the state directory; both end with the process.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace agent {

/// Only one process at a time may look for media and install: the daemon as long as it runs, or the
/// command `install`.
/// \error ErrorCode::kUpdateInProgress when another process has it; kJournal, kIo
base::Result<base::UniqueFd> lock_device(const std::filesystem::path& state_dir);

/// Held while an update changes the device, by whoever has the device, and for the moment in which
/// a person changes its identity by hand. Waits for the one who has it.
/// \error ErrorCode::kJournal, kIo
base::Result<base::UniqueFd> lock_update(const std::filesystem::path& state_dir);

/// As lock_update(), without waiting. \error ErrorCode::kUpdateInProgress too
base::Result<base::UniqueFd> try_lock_update(const std::filesystem::path& state_dir);

}  // namespace agent
