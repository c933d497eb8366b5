// Watches media by udev's events and by the kernel's own. An event is only a hint: /sys is then
// read and compared with what is known, so lost, doubled and reordered events all come out right.
#pragma once

#include <chrono>
#include <memory>

#include "media/media_watcher.hpp"

namespace agent::platform {

struct MediaSources {
  bool udev = true;  // silent where no udevd runs or its events do not reach this network namespace
  bool kernel = true;  // silent in a network namespace of another user namespace
  /// Looks at /sys without an event, for where neither source speaks. 0: never.
  std::chrono::seconds rescan_every{10};
};

class UdevMediaWatcher : public media::MediaWatcher {
 public:
  /// \error ErrorCode::kPermission when neither source can be opened: what has to be allowed; kIo
  /// \source libudev(3), udev_monitor_new_from_netlink(3), balenaos.md section 10
  static base::Result<std::unique_ptr<UdevMediaWatcher>> create(const MediaSources& sources = {});
  ~UdevMediaWatcher() override;

  [[nodiscard]] int descriptor() const override;
  base::Result<std::vector<media::MediaEvent>> take() override;

 private:
  class State;
  explicit UdevMediaWatcher(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace agent::platform
