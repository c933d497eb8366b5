// The watcher with real disks and the kernel's real events.
#include <poll.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>

#include "loop_disk.hpp"
#include "platform/libmount_mounter.hpp"
#include "platform/udev_media_watcher.hpp"
#include "platform/uevent_socket.hpp"
#include "support/command.hpp"
#include "support/scratch.hpp"

namespace {

using namespace agent;
using media::MediaEvent;
using Kind = MediaEvent::Kind;
using support::LoopDisk;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
constexpr std::chrono::seconds kLimit{20};
// No timer: what is seen is seen by events.
const platform::MediaSources kEvents{.rescan_every = std::chrono::seconds(0)};

std::unique_ptr<media::MediaWatcher> watch(const platform::MediaSources& sources = kEvents) {
  support::require_root();
  auto watcher = platform::UdevMediaWatcher::create(sources);
  REQUIRE(watcher);
  return *std::move(watcher);
}

bool is_readable(media::MediaWatcher& watcher, std::chrono::milliseconds limit) {
  pollfd wanted{watcher.descriptor(), POLLIN, 0};
  return ::poll(&wanted, 1, static_cast<int>(limit.count())) > 0;
}

/// What take() gives now about one disk; others on this machine come and go meanwhile.
std::vector<MediaEvent> take(media::MediaWatcher& watcher, const LoopDisk& disk) {
  auto events = watcher.take();
  REQUIRE(events);
  std::erase_if(*events,
                [&disk](const auto& event) { return event.medium.disk.name != disk.name(); });
  return *events;
}

/// Everything about `disk` until `count` events were there.
std::vector<MediaEvent> wait_for(media::MediaWatcher& watcher, const LoopDisk& disk,
                                 std::size_t count) {
  std::vector<MediaEvent> all;
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  while (all.size() < count) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    REQUIRE(is_readable(watcher, kLimit));
    for (auto& event : take(watcher, disk)) {
      all.push_back(std::move(event));
    }
  }
  return all;
}

/// A disk that shows that every event before its own has been handled.
void wait_for_marker(media::MediaWatcher& watcher, const LoopDisk& disk,
                     const std::filesystem::path& directory, std::vector<MediaEvent>& events) {
  const LoopDisk marker(support::make_file(directory / "marker.img", kMiB));
  const auto deadline = std::chrono::steady_clock::now() + kLimit;
  for (bool is_seen = false; !is_seen;) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    REQUIRE(is_readable(watcher, kLimit));
    auto taken = watcher.take();
    REQUIRE(taken);
    for (auto& event : *taken) {
      is_seen = is_seen || event.medium.disk.name == marker.name();
      if (event.medium.disk.name == disk.name()) {
        events.push_back(std::move(event));
      }
    }
  }
}

}  // namespace

TEST_CASE("watcher: the first call reports what is plugged in already") {
  const support::Scratch scratch;
  const LoopDisk disk(support::make_file(scratch / "a.img", 3 * kMiB));
  const auto watcher = watch();
  CHECK(is_readable(*watcher, std::chrono::milliseconds(1000)));
  const auto events = take(*watcher, disk);
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == Kind::kAppeared);
  CHECK(events[0].medium.kind == media::DeviceKind::kLoop);
  CHECK(events[0].medium.disk.number == disk.number());
  CHECK(events[0].medium.disk.size_bytes == 3 * kMiB);
  CHECK(events[0].medium.partitions.empty());
  CHECK(take(*watcher, disk).empty());
}

TEST_CASE("watcher: the disks of this machine that are no media are never reported") {
  const auto watcher = watch();
  const auto events = watcher->take();
  REQUIRE(events);
  for (const auto& event : *events) {
    CHECK(event.medium.kind != media::DeviceKind::kOther);
    CHECK(event.medium.disk.size_bytes > 0);
  }
}

TEST_CASE("watcher: a medium that comes and goes is told by events alone") {
  const support::Scratch scratch;
  LoopDisk disk;
  const auto watcher = watch();
  CHECK(take(*watcher, disk).empty());  // a drive without a medium
  const auto number = disk.number();
  disk.insert(support::make_file(scratch / "a.img", kMiB));
  const auto appeared = wait_for(*watcher, disk, 1);
  REQUIRE(appeared.size() == 1);
  CHECK(appeared[0].kind == Kind::kAppeared);
  disk.eject();
  const auto gone = wait_for(*watcher, disk, 1);
  REQUIRE(gone.size() == 1);
  CHECK(gone[0].kind == Kind::kGone);
  CHECK(gone[0].medium.disk.number == number);
}

TEST_CASE("watcher: a medium swapped in the same drive is gone, and then another one is there") {
  const support::Scratch scratch;
  LoopDisk disk(support::make_file(scratch / "a.img", kMiB));
  const auto watcher = watch();
  REQUIRE(take(*watcher, disk).size() == 1);
  disk.eject();
  disk.insert(support::make_file(scratch / "b.img", kMiB));  // the same size
  const auto events = wait_for(*watcher, disk, 2);
  REQUIRE(events.size() == 2);
  CHECK(events[0].kind == Kind::kGone);
  CHECK(events[1].kind == Kind::kAppeared);
}

TEST_CASE("watcher: a medium pulled out while it is mounted is gone at once, and can come back") {
  const support::Scratch scratch;
  const auto image =
      support::make_ext4(scratch / "a.img", scratch.write("content/hello", "hello").parent_path());
  std::filesystem::copy_file(image, scratch / "spare.img");
  LoopDisk disk(image);
  const auto watcher = watch();
  const auto seen = take(*watcher, disk);
  REQUIRE(seen.size() == 1);
  auto mounter = platform::LibmountMounter::create(scratch / "runtime", "/");
  REQUIRE(mounter);
  const media::MediaPolicy policy{.kinds = {media::DeviceKind::kLoop}, .file_systems = {"ext4"}};
  auto opened = media::open_medium(**mounter, seen[0].medium, policy);
  REQUIRE(opened);
  std::filesystem::resize_file(image, 0);
  support::must_run({"losetup", "--set-capacity", disk.node()});
  CHECK(wait_for(*watcher, disk, 1)[0].kind == Kind::kGone);
  opened->clear();
  disk.eject();
  disk.insert(scratch / "spare.img");
  const auto back = wait_for(*watcher, disk, 1);
  CHECK(back.back().kind == Kind::kAppeared);
  CHECK_FALSE(disk.is_read_only());
  CHECK(media::open_medium(**mounter, back.back().medium, policy));
}

TEST_CASE("watcher: an event without a difference is not reported") {
  const support::Scratch scratch;
  const LoopDisk disk(support::make_file(scratch / "a.img", kMiB));
  const auto watcher = watch();
  REQUIRE(take(*watcher, disk).size() == 1);
  disk.announce();
  disk.announce();
  std::vector<MediaEvent> events;
  wait_for_marker(*watcher, disk, scratch.path(), events);
  CHECK(events.empty());
}

TEST_CASE("watcher: a disk whose partitions come later is reported again with them") {
  const support::Scratch scratch;
  LoopDisk disk(support::make_partitioned(scratch / "a.img",
                                          "label: dos\nsize=8MiB, type=c\nsize=16MiB, type=83\n"));
  const auto watcher = watch();
  REQUIRE(take(*watcher, disk).size() == 1);
  disk.add_partitions();
  auto events = wait_for(*watcher, disk, 1);
  while (events.back().medium.partitions.size() < 2) {
    events = wait_for(*watcher, disk, 1);
  }
  CHECK(events.back().kind == Kind::kAppeared);
  const auto& partitions = events.back().medium.partitions;
  CHECK(partitions[0].name == disk.name() + "p1");
  CHECK(partitions[0].size_bytes == 8 * kMiB);
  CHECK(partitions[1].size_bytes == 16 * kMiB);
}

TEST_CASE("watcher: a medium of no size is none, until it grows") {
  const support::Scratch scratch;
  const auto image = support::make_file(scratch / "a.img", 0);
  const LoopDisk disk(image);
  const auto watcher = watch();
  CHECK(take(*watcher, disk).empty());
  std::filesystem::resize_file(image, kMiB);
  support::must_run({"losetup", "--set-capacity", disk.node()});
  const auto events = wait_for(*watcher, disk, 1);
  CHECK(events[0].kind == Kind::kAppeared);
  CHECK(events[0].medium.disk.size_bytes == kMiB);
}

TEST_CASE("watcher: events that the kernel had to drop are made up for") {
  const support::Scratch scratch;
  const LoopDisk noise;
  LoopDisk disk;
  const auto watcher = watch();
  CHECK(take(*watcher, disk).empty());
  auto witness = platform::UeventSocket::open();
  REQUIRE(witness);
  for (int i = 0; i < 6000; ++i) {
    noise.announce();
  }
  disk.insert(support::make_file(scratch / "a.img", kMiB));
  auto received = witness->receive();
  REQUIRE(received);
  CHECK(received->lost);
  const auto events = wait_for(*watcher, disk, 1);
  CHECK(events[0].kind == Kind::kAppeared);
}

TEST_CASE("watcher: where no udevd speaks, udev's events alone stay silent and the timer helps") {
  const support::Scratch scratch;
  LoopDisk disk;
  const auto kernel = watch();
  const auto udev = watch({.kernel = false, .rescan_every = std::chrono::seconds(0)});
  const auto rescanning = watch({.kernel = false, .rescan_every = std::chrono::seconds(1)});
  for (auto* watcher : {kernel.get(), udev.get(), rescanning.get()}) {
    CHECK(take(*watcher, disk).empty());
  }
  disk.insert(support::make_file(scratch / "a.img", kMiB));
  CHECK(wait_for(*kernel, disk, 1)[0].kind == Kind::kAppeared);
  CHECK(wait_for(*rescanning, disk, 1)[0].kind == Kind::kAppeared);
  if (::access("/run/udev/control", F_OK) == 0) {
    CHECK(wait_for(*udev, disk, 1)[0].kind == Kind::kAppeared);
  } else {
    CHECK_FALSE(is_readable(*udev, std::chrono::milliseconds(0)));
    CHECK(take(*udev, disk).empty());
  }
}

TEST_CASE("watcher: without any source of events the error says what to allow") {
  const auto watcher = platform::UdevMediaWatcher::create({.udev = false, .kernel = false});
  REQUIRE_FALSE(watcher);
  CHECK(watcher.error().code() == base::ErrorCode::kPermission);
  CHECK_THAT(watcher.error().what(), Catch::Contains("privileged"));
}
