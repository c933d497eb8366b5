#include "device_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <string>

#include "base/files.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;

/// \param taken what is said when another process has it
base::Result<base::UniqueFd> lock(const std::filesystem::path& state_dir, const char* name,
                                  int operation, const char* taken) {
  std::error_code failed;
  std::filesystem::create_directories(state_dir, failed);
  if (failed) {
    return Error(ErrorCode::kJournal, "create " + state_dir.string() + ": " + failed.message());
  }
  OU_TRY(auto fd, base::open_file(state_dir / name, O_RDWR | O_CREAT));
  while (::flock(fd.get(), operation) != 0) {
    if (errno == EWOULDBLOCK) {
      return Error(ErrorCode::kUpdateInProgress, taken);
    }
    if (errno != EINTR) {
      return Error::from_errno(errno, "lock " + state_dir.string());
    }
  }
  return fd;
}

constexpr const char* kUpdateLock = "update.lock";

}  // namespace

base::Result<base::UniqueFd> lock_device(const std::filesystem::path& state_dir) {
  return lock(state_dir, "lock", LOCK_EX | LOCK_NB,
              "another offline-updater-agent is at work on this device; "
              "`offline-updater-agent status` says what it does");
}

base::Result<base::UniqueFd> lock_update(const std::filesystem::path& state_dir) {
  return lock(state_dir, kUpdateLock, LOCK_EX, "");
}

base::Result<base::UniqueFd> try_lock_update(const std::filesystem::path& state_dir) {
  return lock(state_dir, kUpdateLock, LOCK_EX | LOCK_NB,
              "an update is under way: try again when `offline-updater-agent status` says that it "
              "has ended");
}

}  // namespace agent
