#include "secret.hpp"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>

#include "base/files.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr char kInterrupt = 3;  // what Ctrl-C sends

/// Turns off echo; Ctrl-C ends the line instead of the program, so that echo always comes back.
class SilentTerminal {
 public:
  explicit SilentTerminal(int fd) : fd_(fd), changed_(::tcgetattr(fd, &before_) == 0) {
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    silent.c_cc[VEOL] = kInterrupt;
    changed_ = changed_ && ::tcsetattr(fd_, TCSAFLUSH, &silent) == 0;
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;
  ~SilentTerminal() {
    if (changed_) {
      static_cast<void>(::tcsetattr(fd_, TCSAFLUSH, &before_));
    }
  }

 private:
  int fd_;
  termios before_{};
  bool changed_;
};

}  // namespace

Result<std::optional<std::string>> given_secret(const SecretSource& source) {
  if (!source.file.empty()) {
    OU_TRY(const base::Bytes bytes, base::read_file(source.file, source.max_bytes));
    const std::string_view text = base::as_text(bytes);
    std::string_view line = text.substr(0, text.find('\n'));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    return std::optional<std::string>(line);
  }
  if (const char* variable = std::getenv(source.variable)) {
    return std::optional<std::string>(variable);
  }
  return std::optional<std::string>();
}

Result<std::string> ask_secret(const SecretSource& source) {
  const base::UniqueFd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!terminal.valid()) {
    return Error(source.missing, "a " + source.what +
                                     " is needed and there is no terminal to ask on: pass " +
                                     source.option + " FILE or set " + source.variable);
  }
  std::string line(source.max_bytes, '\0');
  ssize_t length = 0;
  {
    // Silent before the prompt is shown: what is typed as soon as it appears is neither shown nor
    // lost.
    const SilentTerminal silent(terminal.get());
    OU_CHECK(base::write_all(terminal.get(), base::as_bytes(source.prompt)));
    length = ::read(terminal.get(), line.data(), line.size());
  }
  OU_CHECK(base::write_all(terminal.get(), base::as_bytes("\n")));
  if (length <= 0) {
    return Error(source.missing, "no " + source.what + " was given");
  }
  line.resize(static_cast<std::size_t>(length));
  if (line.back() == kInterrupt) {
    return Error(ErrorCode::kCancelled, "cancelled");
  }
  if (line.back() == '\n') {
    line.pop_back();
  }
  return line;
}

Result<std::string> read_secret(const SecretSource& source) {
  OU_TRY(auto secret, given_secret(source));
  if (secret) {
    return *std::move(secret);
  }
  return ask_secret(source);
}

}  // namespace tool
