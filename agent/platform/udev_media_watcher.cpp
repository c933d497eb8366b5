#include "platform/udev_media_watcher.hpp"

#include <libudev.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <cerrno>
#include <map>
#include <optional>

#include "base/handle.hpp"
#include "base/log.hpp"
#include "base/unique_fd.hpp"
#include "platform/sysfs_media.hpp"
#include "platform/uevent_socket.hpp"

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;
using base::UniqueFd;
using media::MediaEvent;

using Udev = base::Handle<udev, udev_unref>;
using UdevMonitor = base::Handle<udev_monitor, udev_monitor_unref>;
using UdevDevice = base::Handle<udev_device, udev_device_unref>;

constexpr int kUdevEventsPerCall = 1024;

/// libudev's monitor of block devices.
class UdevSource {
 public:
  static base::Result<UdevSource> open() {
    UdevSource source;
    source.udev_.reset(::udev_new());
    if (source.udev_) {
      source.monitor_.reset(::udev_monitor_new_from_netlink(source.udev_.get(), "udev"));
    }
    if (!source.monitor_) {
      return Error::from_errno(errno, "open udev's monitor");
    }
    int status =
        ::udev_monitor_filter_add_match_subsystem_devtype(source.monitor_.get(), "block", nullptr);
    if (status >= 0) {
      status = ::udev_monitor_enable_receiving(source.monitor_.get());
    }
    if (status < 0) {
      return Error::from_errno(-status, "listen to udev");
    }
    return source;
  }

  base::Result<UeventSocket::Received> receive() {
    UeventSocket::Received received;
    for (int i = 0; i < kUdevEventsPerCall; ++i) {
      errno = 0;
      const UdevDevice device(::udev_monitor_receive_device(monitor_.get()));
      if (device) {
        add(*device, received);
      } else if (errno == ENOBUFS) {
        received.lost = true;
      } else if (errno != EINTR) {
        break;  // no more for now; a message that libudev rejects is passed over
      }
    }
    return received;
  }

  [[nodiscard]] int fd() const { return ::udev_monitor_get_fd(monitor_.get()); }

 private:
  static void add(udev_device& device, UeventSocket::Received& received) {
    const char* path = ::udev_device_get_devpath(&device);
    auto disk = path != nullptr ? disk_of_device_path(path) : std::nullopt;
    if (disk) {
      received.events.push_back({*std::move(disk), false});
    }
  }

  Udev udev_;
  UdevMonitor monitor_;
};

/// A timer that has run out already and then does so every `period`; 0: never again.
base::Result<UniqueFd> start_timer(std::chrono::seconds period) {
  UniqueFd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  itimerspec when{};
  when.it_value.tv_nsec = 1;
  when.it_interval.tv_sec = period.count();
  if (!fd.valid() || ::timerfd_settime(fd.get(), 0, &when, nullptr) != 0) {
    return Error::from_errno(errno, "start a timer");
  }
  return fd;
}

/// A source if it is wanted and can be opened; otherwise `failures` says why not.
template <typename Source>
std::optional<Source> try_open(bool wanted, std::string& failures) {
  if (!wanted) {
    return std::nullopt;
  }
  auto source = Source::open();
  if (!source) {
    failures += (failures.empty() ? "" : "; ") + source.error().message();
    return std::nullopt;
  }
  return *std::move(source);
}

}  // namespace

class UdevMediaWatcher::State {
 public:
  State(std::optional<UdevSource> udev, std::optional<UeventSocket> kernel, UniqueFd timer,
        UniqueFd poll)
      : udev_(std::move(udev)),
        kernel_(std::move(kernel)),
        timer_(std::move(timer)),
        poll_(std::move(poll)) {}

  base::Status begin() {
    OU_CHECK(watch(timer_.get()));
    if (udev_) {
      OU_CHECK(watch(udev_->fd()));
    }
    if (kernel_) {
      OU_CHECK(watch(kernel_->fd()));
    }
    return base::ok();
  }

  [[nodiscard]] int descriptor() const { return poll_.get(); }

  base::Result<std::vector<MediaEvent>> take() {
    OU_CHECK(receive());
    std::vector<MediaEvent> events;
    if (rescan_) {
      OU_TRY(const auto names, sysfs_.disk_names());
      for (const auto& name : names) {
        hints_.try_emplace(name, false);
      }
      for (const auto& [name, known] : known_) {
        hints_.try_emplace(name, false);
      }
      rescan_ = false;
    }
    for (const auto& [name, is_replaced] : hints_) {
      compare(name, is_replaced, events);
    }
    hints_.clear();
    return events;
  }

 private:
  base::Status watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return Error::from_errno(errno, "watch a descriptor");
    }
    return base::ok();
  }

  base::Status receive() {
    std::uint64_t expirations = 0;
    if (::read(timer_.get(), &expirations, sizeof(expirations)) > 0) {
      rescan_ = true;
    }
    if (kernel_) {
      OU_TRY(const auto received, kernel_->receive());
      note(received);
    }
    if (udev_) {
      OU_TRY(const auto received, udev_->receive());
      note(received);
    }
    return base::ok();
  }

  void note(const UeventSocket::Received& received) {
    rescan_ = rescan_ || received.lost;
    for (const auto& event : received.events) {
      auto& is_replaced = hints_[event.disk];
      is_replaced = is_replaced || event.is_replaced;
    }
  }

  /// Tells the difference between what is known of a disk and what /sys says now.
  void compare(const std::string& name, bool is_replaced, std::vector<MediaEvent>& events) {
    auto present = sysfs_.read(name);
    const auto known = known_.find(name);
    if (known != known_.end()) {
      // Where the kernel numbers its media, that number is better than an event.
      const bool is_same =
          present && known->second.is_same_medium(*present) && (present->sequence || !is_replaced);
      if (is_same && known->second.has_same_partitions(*present)) {
        return;
      }
      if (!is_same) {
        const auto& disk = known->second.medium.disk;
        events.push_back({MediaEvent::Kind::kGone, {.disk = {disk.name, disk.number, 0}}});
      }
      known_.erase(known);
    }
    if (present) {
      events.push_back({MediaEvent::Kind::kAppeared, present->medium});
      known_.emplace(name, *std::move(present));
    }
  }

  SysfsMedia sysfs_{"/sys"};
  std::optional<UdevSource> udev_;
  std::optional<UeventSocket> kernel_;
  UniqueFd timer_;
  UniqueFd poll_;
  bool rescan_ = true;                 // the first call reports what is there
  std::map<std::string, bool> hints_;  // disks to look at; whether their medium was replaced
  std::map<std::string, PresentMedium> known_;
};

base::Result<std::unique_ptr<UdevMediaWatcher>> UdevMediaWatcher::create(
    const MediaSources& sources) {
  std::string failures;
  auto udev = try_open<UdevSource>(sources.udev, failures);
  auto kernel = try_open<UeventSocket>(sources.kernel, failures);
  if (!udev && !kernel) {
    return Error(
        ErrorCode::kPermission,
        "media cannot be watched: neither udev's events nor the kernel's can be received (" +
            failures +
            "); run the agent as root, in a container with privileged: true and "
            "network_mode: host, without a seccomp profile that forbids AF_NETLINK");
  }
  if (!failures.empty()) {
    base::log::warning("media are watched by one source of events only: " + failures);
  }
  OU_TRY(auto timer, start_timer(sources.rescan_every));
  UniqueFd poll(::epoll_create1(EPOLL_CLOEXEC));
  if (!poll.valid()) {
    return Error::from_errno(errno, "make a descriptor to wait on");
  }
  auto state = std::make_unique<State>(std::move(udev), std::move(kernel), std::move(timer),
                                       std::move(poll));
  OU_CHECK(state->begin());
  return std::unique_ptr<UdevMediaWatcher>(new UdevMediaWatcher(std::move(state)));
}

UdevMediaWatcher::UdevMediaWatcher(std::unique_ptr<State> state) : state_(std::move(state)) {}
UdevMediaWatcher::~UdevMediaWatcher() = default;

int UdevMediaWatcher::descriptor() const {
  return state_->descriptor();
}
base::Result<std::vector<MediaEvent>> UdevMediaWatcher::take() {
  return state_->take();
}

}  // namespace agent::platform
