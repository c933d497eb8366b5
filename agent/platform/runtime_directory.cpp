#include "platform/runtime_directory.hpp"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/mount_table.hpp"

namespace agent::platform {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

base::Status check_private(const fs::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return Error::from_errno(errno, "stat " + path.string());
  }
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid()) {
    return Error(ErrorCode::kPermission,
                 path.string() +
                     " is not a directory of the agent's own user; remove it, or set "
                     "OFFLINE_UPDATER_RUNTIME_DIR to another one");
  }
  if (::chmod(path.c_str(), 0700) != 0) {
    return Error::from_errno(errno, "make " + path.string() + " private");
  }
  return base::ok();
}

/// Deepest first, so that nothing hides below a mount that is gone already.
base::Status unmount_all(const fs::path& path) {
  OU_TRY(auto mounts, base::read_mount_table("/proc/self/mountinfo"));
  std::reverse(mounts.begin(), mounts.end());
  for (const auto& mount : mounts) {
    if (base::is_at_or_below(mount.target, path) &&
        ::umount2(mount.target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL) {
      return Error::from_errno(errno,
                               "unmount what an earlier agent left at " + mount.target.string());
    }
  }
  return base::ok();
}

/// Only what is directly below: nodes, and mount points that are empty by now.
void remove_leftovers(const fs::path& path) {
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;  // what stays is hidden below the new tmpfs
    fs::remove(entry->path(), ignored);
  }
}

}  // namespace

base::Result<RuntimeDirectory> RuntimeDirectory::open(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return Error::from_errno(error.value(), "make " + path.string());
  }
  OU_CHECK(unmount_all(fs::weakly_canonical(path, error)));
  OU_CHECK(check_private(path));
  const auto canonical = fs::canonical(path, error);
  if (error) {
    return Error::from_errno(error.value(), "find " + path.string());
  }
  remove_leftovers(canonical);
  if (::mount("tmpfs", canonical.c_str(), "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NOATIME,
              "mode=0700,size=256k") != 0) {
    return Error::from_errno(errno, "mount a private tmpfs on " + canonical.string() +
                                        " (CAP_SYS_ADMIN is needed: privileged: true)");
  }
  RuntimeDirectory directory(canonical);
  if (::mount(nullptr, canonical.c_str(), nullptr, MS_PRIVATE, nullptr) != 0) {
    return Error::from_errno(errno, "keep mounts below " + canonical.string() + " private");
  }
  return directory;
}

RuntimeDirectory::RuntimeDirectory(RuntimeDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

RuntimeDirectory::~RuntimeDirectory() {
  if (!path_.empty()) {
    ::umount2(path_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::rmdir(path_.c_str());  // the next start uses it again if it stays
  }
}

}  // namespace agent::platform
