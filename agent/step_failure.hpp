// What the error of a step says: of the bundle, of the device, or of neither.
#pragma once

#include "base/error.hpp"
#include "record/journal.hpp"

namespace agent {

/// The OS has taken its update back by itself.
bool has_gone_back(const base::Error& why);

/// Whether a failed step is left as it is, to be tried again, rather than taken back. A systemd or
/// an engine that does not answer says nothing about the bundle: so it is when the device goes
/// down, or is busy. An OS that another program is updating is waited for.
bool is_retried(record::Phase phase, base::ErrorCode code);

/// What kept the release from being switched, and will not do so the next time: the bundle is not
/// remembered as failed.
bool is_about_device(const base::Error& why);

}  // namespace agent
