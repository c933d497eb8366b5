#include "platform/mount_namespace.hpp"

#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <filesystem>

namespace agent::platform {

base::Status enter_private_mount_namespace() {
  std::error_code error;
  int threads = 0;
  for (std::filesystem::directory_iterator thread("/proc/self/task", error), end;
       !error && thread != end; thread.increment(error)) {
    ++threads;
  }
  if (error) {
    return base::Error::from_errno(error.value(), "list the threads of this process");
  }
  if (threads != 1) {
    return base::Error(base::ErrorCode::kInternal,
                       "a private mount namespace has to be entered before threads start");
  }
  if (::unshare(CLONE_NEWNS) != 0) {
    return base::Error::from_errno(
        errno, "enter a private mount namespace (CAP_SYS_ADMIN is needed: privileged: true)");
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return base::Error::from_errno(errno, "keep mounts from being seen by others");
  }
  return base::ok();
}

}  // namespace agent::platform
