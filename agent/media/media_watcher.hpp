// Tells of media that come and go.
#pragma once

#include <vector>

#include "base/result.hpp"
#include "media/block_device.hpp"

namespace agent::media {

class MediaWatcher {
 public:
  MediaWatcher() = default;
  MediaWatcher(const MediaWatcher&) = delete;
  MediaWatcher& operator=(const MediaWatcher&) = delete;
  virtual ~MediaWatcher() = default;

  /// Readable when take() has something; valid as long as the watcher.
  [[nodiscard]] virtual int descriptor() const = 0;

  /// What happened since the last call; never blocks. The first call reports everything that is
  /// already plugged in. A disk whose partitions appear later is reported again; a medium that was
  /// swapped in the same drive is reported as gone and appeared.
  /// \error ErrorCode::kIo
  virtual base::Result<std::vector<MediaEvent>> take() = 0;
};

}  // namespace agent::media
