#include "image/run_program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>

#include "base/bytes.hpp"
#include "base/files.hpp"
#include "base/printable.hpp"
#include "base/unique_fd.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
using base::UniqueFd;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kErrorsLimitBytes = std::size_t{64} * 1024;

/// A program that was started: killed and waited for when nobody has waited for it.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      static_cast<void>(wait());
    }
  }

  Result<int> wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0) {
      if (errno != EINTR) {
        pid_ = 0;
        return Error::from_errno(errno, "wait for a program");
      }
    }
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_;
};

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Error::from_errno(errno, "make a pipe");
  }
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// A file as standard input: unlike a pipe it asks nobody to write while the program runs.
Result<UniqueFd> make_input(std::string_view input) {
  UniqueFd fd(::memfd_create("input", MFD_CLOEXEC));
  if (!fd.valid()) {
    return Error::from_errno(errno, "make a file in memory");
  }
  OU_CHECK(base::write_all(fd.get(), base::as_bytes(input)));
  if (::lseek(fd.get(), 0, SEEK_SET) < 0) {
    return Error::from_errno(errno, "rewind a file in memory");
  }
  return fd;
}

/// e2fsprogs and dosfstools live in directories that an ordinary user's PATH leaves out. Relative
/// entries of PATH are passed over.
std::string search_path() {
  const char* path = std::getenv("PATH");
  return std::string(path == nullptr ? "/usr/bin:/bin" : path) + ":/usr/sbin:/sbin";
}

std::optional<std::string> find_program(const std::string& name) {
  const std::string path = search_path();
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    std::string candidate = path.substr(at, end - at) + "/" + name;
    if (path[at] == '/' && ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    at = end + 1;
  }
  return std::nullopt;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> raw;
  raw.reserve(texts.size() + 1);
  for (std::string& text : texts) {
    raw.push_back(text.data());
  }
  raw.push_back(nullptr);
  return raw;
}

/// What posix_spawn() does with descriptors before the program starts.
class Actions {
 public:
  Actions() { ::posix_spawn_file_actions_init(&actions_); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  ~Actions() { ::posix_spawn_file_actions_destroy(&actions_); }

  /// `to` may be `fd` itself: then it only loses its close-on-exec flag.
  void duplicate(int fd, int to) {
    failure_ = std::max(failure_, ::posix_spawn_file_actions_adddup2(&actions_, fd, to));
  }
  [[nodiscard]] int failure() const { return failure_; }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
  int failure_ = 0;
};

Result<pid_t> spawn(const Program& program, const std::string& path, int input, int output,
                    int errors) {
  std::vector<std::string> argv = program.argv;
  std::vector<std::string> environment = program.environment;
  environment.insert(environment.end(), {"PATH=" + search_path(), "LC_ALL=C", "TZ=UTC"});
  Actions actions;
  actions.duplicate(input, STDIN_FILENO);
  actions.duplicate(output, STDOUT_FILENO);
  actions.duplicate(errors, STDERR_FILENO);
  for (const int descriptor : program.descriptors) {
    actions.duplicate(descriptor, descriptor);
  }
  pid_t pid = 0;
  int failure = actions.failure();
  if (failure == 0) {
    failure = ::posix_spawn(&pid, path.c_str(), actions.get(), nullptr, pointers(argv).data(),
                            pointers(environment).data());
  }
  if (failure != 0) {
    return Error::from_errno(failure, "start " + path).as(ErrorCode::kIo);
  }
  return pid;
}

/// Appends what is there to `text`. \return false at the end
Result<bool> drain(int fd, std::string& text) {
  std::array<char, 16384> buffer{};
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got < 0) {
    return errno == EINTR ? Result<bool>(true) : Error::from_errno(errno, "read from a program");
  }
  text.append(buffer.data(), static_cast<std::size_t>(got));
  return got > 0;
}

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

/// Collects both streams until the program has closed them.
Status listen(const Program& program, const UniqueFd& output, const UniqueFd& errors,
              ProgramResult& result) {
  const auto deadline = Clock::now() + program.time_limit;
  std::array<pollfd, 2> watched{pollfd{output.get(), POLLIN, 0}, pollfd{errors.get(), POLLIN, 0}};
  std::array<std::string*, 2> texts{&result.output, &result.errors};
  while (watched[0].fd >= 0 || watched[1].fd >= 0) {
    if (Clock::now() >= deadline) {
      return Error(ErrorCode::kTimeout, program.argv.front() + " did not end within " +
                                            std::to_string(program.time_limit.count()) +
                                            " seconds");
    }
    if (::poll(watched.data(), watched.size(), milliseconds_until(deadline)) < 0 &&
        errno != EINTR) {
      return Error::from_errno(errno, "wait for a program");
    }
    for (std::size_t i = 0; i < watched.size(); ++i) {
      if (watched[i].fd < 0 || watched[i].revents == 0) {
        continue;
      }
      OU_TRY(const bool more, drain(watched[i].fd, *texts[i]));
      watched[i].fd = more ? watched[i].fd : -1;
    }
    result.errors.resize(std::min(result.errors.size(), kErrorsLimitBytes));
    if (result.output.size() > program.output_limit_bytes) {
      return Error(ErrorCode::kLimitExceeded,
                   program.argv.front() + " says more than the limit of " +
                       std::to_string(program.output_limit_bytes) + " bytes");
    }
  }
  return base::ok();
}

/// The last line with something on it.
std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
    text.remove_suffix(1);
  }
  const std::size_t start = text.rfind('\n');
  return base::printable(start == std::string_view::npos ? text : text.substr(start + 1));
}

}  // namespace

Result<ProgramResult> run_program(const Program& program) {
  const std::string& name = program.argv.front();
  const auto path = find_program(name);
  if (!path) {
    return Error(ErrorCode::kNotFound, name + " is not installed: it is in the Debian package " +
                                           program.package + " (apt install " + program.package +
                                           ")");
  }
  OU_TRY(const UniqueFd input, make_input(program.input));
  OU_TRY(Pipe output, make_pipe());
  OU_TRY(Pipe errors, make_pipe());
  OU_TRY(const pid_t pid,
         spawn(program, *path, input.get(), output.write.get(), errors.write.get()));
  Child child(pid);
  output.write.reset();
  errors.write.reset();
  ProgramResult result{};
  OU_CHECK(listen(program, output.read, errors.read, result));
  OU_TRY(result.exit_status, child.wait());
  return result;
}

Error program_error(ErrorCode code, const Program& program, const ProgramResult& result) {
  std::string line = last_line(result.errors);
  if (line.empty()) {
    line = "ended with status " + std::to_string(result.exit_status);
  }
  const std::string& name = program.argv.front();
  return Error(code, line.starts_with(name) ? line : name + ": " + line);
}

Result<std::string> run_successfully(const Program& program, ErrorCode code) {
  OU_TRY(ProgramResult result, run_program(program));
  if (result.exit_status != 0) {
    return program_error(code, program, result);
  }
  return std::move(result.output);
}

}  // namespace image
