#include "signing_keys.hpp"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/files.hpp"
#include "bundle/key_limits.hpp"

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

Result<std::string> ask(const std::string& prompt) {
  const base::UniqueFd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!terminal.valid()) {
    return Error(ErrorCode::kKeyPassword,
                 std::string("a password is needed and there is no terminal to ask on: pass "
                             "--password-file FILE or set ") +
                     kPasswordVariable);
  }
  std::string line(bundle::kMaxPasswordBytes, '\0');
  ssize_t length = 0;
  {
    // Silent before the prompt is shown: what is typed as soon as it appears is neither shown nor
    // lost.
    const SilentTerminal silent(terminal.get());
    OU_CHECK(base::write_all(terminal.get(), base::as_bytes(prompt)));
    length = ::read(terminal.get(), line.data(), line.size());
  }
  OU_CHECK(base::write_all(terminal.get(), base::as_bytes("\n")));
  if (length <= 0) {
    return Error(ErrorCode::kKeyPassword, "no password was given");
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

/// From the file or the environment, if there is one.
Result<std::optional<std::string>> given_password(const std::filesystem::path& password_file) {
  if (!password_file.empty()) {
    OU_TRY(const base::Bytes bytes, base::read_file(password_file, bundle::kMaxPasswordBytes));
    const std::string_view text = base::as_text(bytes);
    std::string_view line = text.substr(0, text.find('\n'));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    return std::optional<std::string>(line);
  }
  if (const char* variable = std::getenv(kPasswordVariable)) {
    return std::optional<std::string>(variable);
  }
  return std::optional<std::string>();
}

/// The password of the encrypted key at `key`.
Result<std::string> password_of(const std::filesystem::path& key,
                                const std::filesystem::path& password_file) {
  OU_TRY(auto password, given_password(password_file));
  if (password) {
    return *std::move(password);
  }
  return ask("Password of " + key.string() + ": ");
}

/// What both kinds of secret keys have: a file, a way to tell that it is encrypted, a parser.
template <typename Key>
Result<Key> load(const std::filesystem::path& path, const std::filesystem::path& password_file,
                 Result<bool> (*is_encrypted)(std::string_view)) {
  const std::string doing = "key " + path.string();
  OU_TRY(const base::Bytes bytes, base::read_file(path, bundle::kMaxKeyFileBytes).within(doing));
  const std::string_view file = base::as_text(bytes);
  OU_TRY(const bool encrypted, is_encrypted(file).within(doing));
  std::optional<std::string> password;
  if (encrypted) {
    OU_TRY(password, password_of(path, password_file).within(doing));
  }
  return Key::parse_file(file, password).within(doing);
}

}  // namespace

Result<bundle::SecretKey> load_secret_key(const std::filesystem::path& path,
                                          const std::filesystem::path& password_file) {
  return load<bundle::SecretKey>(path, password_file, bundle::is_encrypted_key_file);
}

Result<bundle::BoxSecretKey> load_box_secret_key(const std::filesystem::path& path,
                                                 const std::filesystem::path& password_file) {
  return load<bundle::BoxSecretKey>(path, password_file, bundle::is_encrypted_box_key_file);
}

Result<std::vector<bundle::SecretKey>> load_secret_keys(
    const std::vector<std::filesystem::path>& paths, const std::filesystem::path& password_file) {
  std::vector<bundle::SecretKey> keys;
  std::vector<bundle::KeyId> ids;
  for (const auto& path : paths) {
    OU_TRY(bundle::SecretKey key, load_secret_key(path, password_file));
    const bundle::KeyId id = key.public_key().id;
    if (std::find(ids.begin(), ids.end(), id) != ids.end()) {
      return Error(ErrorCode::kUsage,
                   path.string() + " is the same key as one before it: each key signs once");
    }
    ids.push_back(id);
    keys.push_back(std::move(key));
  }
  return keys;
}

std::string signature_comment(const bundle::Manifest& manifest) {
  return "offline-updater bundle:" + manifest.bundle_id +
         " sequence:" + std::to_string(manifest.sequence) + " fleet:" + manifest.targets.fleet_uuid;
}

Result<std::string> choose_password(const std::filesystem::path& password_file) {
  OU_TRY(std::optional<std::string> password, given_password(password_file));
  if (!password) {
    OU_TRY(password, ask("Password for the new key: "));
    OU_TRY(const std::string again, ask("The same again: "));
    if (*password != again) {
      return Error(ErrorCode::kKeyPassword, "the two passwords differ; nothing was written");
    }
  }
  if (password->empty()) {
    return Error(ErrorCode::kKeyPassword,
                 "the password is empty: choose one, or pass --no-password for a key without");
  }
  return *std::move(password);
}

}  // namespace tool
