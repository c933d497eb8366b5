// Mounts of the agent are not seen by anyone else.
#include "platform/mount_namespace.hpp"

#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/mount_table.hpp"
#include "loop_disk.hpp"
#include "support/scratch.hpp"

namespace {

bool is_mounted(const std::filesystem::path& path) {
  const auto table = base::read_mount_table("/proc/self/mountinfo");
  return table && std::any_of(table->begin(), table->end(),
                              [&path](const auto& mount) { return mount.target == path; });
}

}  // namespace

TEST_CASE("mount namespace: what is mounted inside is not seen outside") {
  support::require_root();
  const support::Scratch scratch;
  const auto target = scratch / "inside";
  std::filesystem::create_directory(target);
  int told[2];
  int held[2];
  REQUIRE(::pipe(told) == 0);
  REQUIRE(::pipe(held) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(held[1]);
    char result = 'e';
    if (agent::platform::enter_private_mount_namespace() &&
        ::mount("tmpfs", target.c_str(), "tmpfs", 0, nullptr) == 0 && is_mounted(target)) {
      result = 'm';
    }
    static_cast<void>(!::write(told[1], &result, 1));
    static_cast<void>(!::read(held[0], &result, 1));  // until the parent has looked
    ::_exit(0);
  }
  char result = 0;
  CHECK(::read(told[0], &result, 1) == 1);
  CHECK(result == 'm');
  CHECK_FALSE(is_mounted(target));
  for (const int fd : {held[0], held[1], told[0], told[1]}) {
    ::close(fd);
  }
  CHECK(::waitpid(child, nullptr, 0) == child);
}

TEST_CASE("mount namespace: a process with threads is told that it is too late") {
  std::mutex mutex;
  mutex.lock();
  std::thread other([&mutex] { const std::lock_guard wait(mutex); });
  const auto status = agent::platform::enter_private_mount_namespace();
  mutex.unlock();
  other.join();
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == base::ErrorCode::kInternal);
}
