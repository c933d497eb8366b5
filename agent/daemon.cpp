#include "daemon.hpp"

#include <systemd/sd-daemon.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>

#include "base/log.hpp"
#include "update_worker.hpp"

namespace agent {
namespace {

namespace asio = boost::asio;

/// Tells systemd's watchdog, where there is one, that the event loop turns.
class Watchdog {
 public:
  explicit Watchdog(asio::io_context& context) : timer_(context) {
    std::uint64_t limit_microseconds = 0;
    if (::sd_watchdog_enabled(0, &limit_microseconds) > 0) {
      period_ = std::chrono::microseconds(limit_microseconds / 2);
      arm();
    }
  }

 private:
  void arm() {
    ::sd_notify(0, "WATCHDOG=1");
    timer_.expires_after(period_);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) {
        arm();
      }
    });
  }
  asio::steady_timer timer_;
  std::chrono::microseconds period_{};
};

/// Calls `handle` each time the watcher has something; stops the loop when it fails.
class WatcherLoop {
 public:
  WatcherLoop(asio::io_context& context, media::MediaWatcher& watcher, UpdateWorker& worker)
      : context_(context),
        descriptor_(context, watcher.descriptor()),
        watcher_(watcher),
        worker_(worker) {
    take();
  }
  ~WatcherLoop() { static_cast<void>(descriptor_.release()); }  // the watcher owns it
  WatcherLoop(const WatcherLoop&) = delete;
  WatcherLoop& operator=(const WatcherLoop&) = delete;

  [[nodiscard]] const base::Status& status() const { return status_; }

 private:
  void take() {
    auto events = watcher_.take();
    if (!events) {
      status_ = std::move(events).error();
      context_.stop();
      return;
    }
    for (auto& event : *events) {
      worker_.post(std::move(event));
    }
    descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                           [this](const boost::system::error_code& error) {
                             if (!error) {
                               take();
                             }
                           });
  }
  asio::io_context& context_;
  asio::posix::stream_descriptor descriptor_;
  media::MediaWatcher& watcher_;
  UpdateWorker& worker_;
  base::Status status_;
};

}  // namespace

base::Status run_daemon(media::MediaWatcher& watcher, UpdateWorker& worker) {
  asio::io_context context;
  asio::signal_set signals(context, SIGTERM, SIGINT);
  signals.async_wait([&context](const boost::system::error_code& error, int number) {
    if (!error) {
      base::log::info("stopping on signal " + std::to_string(number));
      context.stop();
    }
  });
  const Watchdog watchdog(context);
  worker.start();
  const WatcherLoop loop(context, watcher, worker);
  ::sd_notify(0, "READY=1");
  context.run();
  ::sd_notify(0, "STOPPING=1");
  worker.stop();
  return loop.status();
}

}  // namespace agent
