// The agent's event loop: media, signals, the watchdog. The work itself is done by UpdateWorker.
#pragma once

#include "base/result.hpp"
#include "media/media_watcher.hpp"
#include "update_worker.hpp"

namespace agent {

/// Starts the worker and feeds it with media until SIGTERM or SIGINT. An update that is under way
/// is stopped where the next start can go on. \error ErrorCode::kIo when media cannot be watched;
/// kJournal when the journal cannot be read
base::Status run_daemon(media::MediaWatcher& watcher, UpdateWorker& worker);

}  // namespace agent
