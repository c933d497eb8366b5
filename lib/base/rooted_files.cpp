#include "base/rooted_files.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/files.hpp"

namespace base {

Result<UniqueFd> open_in_root(const std::filesystem::path& root, const std::filesystem::path& path,
                              int flags, unsigned mode) {
  OU_TRY(const auto directory, open_file(root, O_PATH | O_DIRECTORY));
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_IN_ROOT;
  long fd = -1;
  do {
    fd = ::syscall(SYS_openat2, directory.get(), path.c_str(), &how, sizeof(how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd < 0) {
    return Error::from_errno(errno, "open " + (root / path.relative_path()).string());
  }
  return UniqueFd(static_cast<int>(fd));
}

Result<Bytes> read_file_in_root(const std::filesystem::path& root,
                                const std::filesystem::path& path, std::uint64_t limit_bytes) {
  OU_TRY(const auto fd, open_in_root(root, path, O_RDONLY));
  return read_to_end(fd.get(), limit_bytes)
      .within("read " + (root / path.relative_path()).string());
}

bool exists_in_root(const std::filesystem::path& root, const std::filesystem::path& path) {
  return open_in_root(root, path, O_PATH).has_value();
}

}  // namespace base
