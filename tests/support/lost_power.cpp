#include "support/lost_power.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;
using support::Unsynced;

constexpr int kPowerLost = 77;

/// A change of a directory that is not synced yet.
struct Change {
  fs::path directory;
  std::function<void()> undo;
  std::function<void()> break_off;
};

struct World {
  int left = 0;  // calls until the fault; 0: none is armed
  int error_number = 0;
  bool struck = false;
  Unsynced unsynced = Unsynced::kKept;
  std::vector<Change> changes;
  std::set<fs::path> unsynced_files;
};

World& world() {
  static World the_world;
  return the_world;
}

std::optional<std::string> content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? std::optional(text.str()) : std::nullopt;
}

void put(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

void halve(const fs::path& path) {
  std::error_code gone;
  const auto size = fs::file_size(path, gone);
  if (!gone) {
    fs::resize_file(path, size / 2, gone);
  }
}

[[noreturn]] void go_dark() {
  auto& state = world();
  state.left = 0;  // what follows is no call of the program
  if (state.unsynced != Unsynced::kKept) {
    for (const auto& file : state.unsynced_files) {
      halve(file);
    }
    for (auto change = state.changes.rbegin(); change != state.changes.rend(); ++change) {
      (state.unsynced == Unsynced::kLost ? change->undo : change->break_off)();
    }
  }
  ::_exit(kPowerLost);
}

bool armed() {
  return world().left > 0;
}

/// \return whether this call is to fail; does not return when the power goes
bool fault() {
  auto& state = world();
  if (state.left == 0 || --state.left > 0) {
    return false;
  }
  if (state.error_number == 0) {
    go_dark();
  }
  state.struck = true;
  errno = state.error_number;
  return true;
}

/// Does `work` without its calls being counted.
template <typename Work>
auto aside(const Work& work) {
  const int left = std::exchange(world().left, 0);
  auto result = work();
  world().left = left;
  return result;
}

fs::path path_of(int fd) {
  std::array<char, 4096> path{};
  const auto link = "/proc/self/fd/" + std::to_string(fd);
  const auto length = ::readlink(link.c_str(), path.data(), path.size());
  return length < 0 ? fs::path() : fs::path(std::string(path.data(), static_cast<size_t>(length)));
}

void note_removed(const fs::path& path, const std::optional<std::string>& content) {
  world().changes.push_back({path.parent_path(), [=] { put(path, content.value_or("")); },
                             [=] { put(path, content->substr(0, content->size() / 2)); }});
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  const bool creates = armed() && (flags & O_CREAT) != 0 && ::access(path, F_OK) != 0;
  if (creates && fault()) {
    return -1;
  }
  const auto fd = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  if (creates && fd >= 0) {
    const fs::path file(path);
    world().changes.push_back({file.parent_path(), [=] { fs::remove(file); }, [] {}});
    world().unsynced_files.insert(file);
  }
  return fd;
}

ssize_t write(int fd, const void* bytes, size_t count) {
  if (armed() && fault()) {
    return -1;
  }
  return ::syscall(SYS_write, fd, bytes, count);
}

int fsync(int fd) {
  if (armed()) {
    if (fault()) {
      return -1;
    }
    const auto path = path_of(fd);
    world().unsynced_files.erase(path);
    std::erase_if(world().changes, [&](const auto& change) { return change.directory == path; });
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

int rename(const char* from, const char* to) noexcept {
  if (armed()) {
    if (fault()) {
      return -1;
    }
    const fs::path source(from);
    const fs::path target(to);
    const auto old = aside([&] { return content_of(target); });
    world().changes.push_back({target.parent_path(),
                               [=] {
                                 fs::rename(target, source);
                                 if (old) {
                                   put(target, *old);
                                 }
                               },
                               [=] { fs::remove(target); }});
    if (world().unsynced_files.erase(source) > 0) {
      world().unsynced_files.insert(target);
    }
  }
  return static_cast<int>(::syscall(SYS_rename, from, to));
}

int unlink(const char* path) noexcept {
  if (armed() && ::access(path, F_OK) == 0) {
    if (fault()) {
      return -1;
    }
    note_removed(path, aside([&] { return content_of(path); }));
  }
  return static_cast<int>(::syscall(SYS_unlink, path));
}

}  // extern "C"

namespace support {

bool lose_power(int call, Unsynced unsynced, const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child < 0) {
    throw std::runtime_error("fork failed");
  }
  if (child == 0) {
    world() = World{.left = call, .unsynced = unsynced};
    work();
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
      (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != kPowerLost)) {
    throw std::runtime_error("the child ended otherwise");
  }
  return WEXITSTATUS(status) == kPowerLost;
}

FailingCall::FailingCall(int call, int error_number) {
  world() = World{.left = call, .error_number = error_number};
}

FailingCall::~FailingCall() {
  world() = World{};
}

bool FailingCall::struck() const {
  return world().struck;
}

}  // namespace support
