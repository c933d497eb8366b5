#include "base/directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

#include "base/handle.hpp"
#include "base/printable.hpp"

namespace base {
namespace {

Error unsafe_entry(const std::string& relative, const char* what) {
  return {ErrorCode::kMediumUnsafeEntry, printable(relative) + " " + what};
}

Result<UniqueFd> open_beneath(int directory, const std::string& relative, std::uint64_t flags) {
  if (relative.find('\0') != std::string::npos) {
    return unsafe_entry(relative, "is no name");  // the kernel would see only its beginning
  }
  open_how how{};
  how.flags = flags | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  do {  // glibc 2.36 has no wrapper; EAGAIN is a rename that raced with the look-up.
    fd = ::syscall(SYS_openat2, directory, relative.c_str(), &how, sizeof(how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd >= 0) {
    return UniqueFd(static_cast<int>(fd));
  }
  const int error_number = errno;
  auto error = Error::from_errno(error_number, "open " + printable(relative));
  const bool unsafe = error_number == ELOOP || error_number == EXDEV || error_number == ENOTDIR ||
                      error_number == ENXIO;
  return unsafe ? std::move(error).as(ErrorCode::kMediumUnsafeEntry) : std::move(error);
}

Result<struct stat> status_of(int fd, const std::string& relative) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return Error::from_errno(errno, "stat " + printable(relative));
  }
  return status;
}

EntryKind kind_of(mode_t mode) {
  switch (mode & static_cast<mode_t>(S_IFMT)) {
    case S_IFREG:
      return EntryKind::kFile;
    case S_IFDIR:
      return EntryKind::kDirectory;
    case S_IFLNK:
      return EntryKind::kSymlink;
    default:
      return EntryKind::kSpecial;
  }
}

}  // namespace

Result<UntrustedDirectory> UntrustedDirectory::open(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) {
    const int error_number = errno;
    auto error = Error::from_errno(error_number, "open directory " + printable(path.string()));
    return error_number == ENOTDIR ? std::move(error).as(ErrorCode::kMediumUnsafeEntry)
                                   : std::move(error);
  }
  return UntrustedDirectory(std::move(fd));
}

Result<UntrustedDirectory> UntrustedDirectory::open_directory(const std::string& relative) const {
  OU_TRY(auto fd, open_beneath(fd_.get(), relative, O_RDONLY | O_DIRECTORY));
  return UntrustedDirectory(std::move(fd));
}

Result<OpenedFile> UntrustedDirectory::open_file(const std::string& relative) const {
  // Opening a device or a FIFO can do something, so it is looked at first.
  OU_TRY(const auto looked_at, open_beneath(fd_.get(), relative, O_PATH));
  OU_TRY(const auto before, status_of(looked_at.get(), relative));
  if (!S_ISREG(before.st_mode)) {
    return unsafe_entry(relative, "is not a regular file");
  }
  OU_TRY(auto fd, open_beneath(fd_.get(), relative, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  OU_TRY(const auto status, status_of(fd.get(), relative));
  if (!S_ISREG(status.st_mode) || status.st_ino != before.st_ino ||
      status.st_dev != before.st_dev) {
    return unsafe_entry(relative, "was exchanged while it was opened");
  }
  return OpenedFile{std::move(fd), static_cast<std::uint64_t>(status.st_size)};
}

Result<std::vector<DirectoryEntry>> UntrustedDirectory::list(std::size_t limit) const {
  // A descriptor of its own: fdopendir() takes it over, and its position is not shared.
  OU_TRY(UniqueFd own, open_beneath(fd_.get(), ".", O_RDONLY | O_DIRECTORY));
  const Handle<DIR, ::closedir> stream(::fdopendir(own.get()));
  if (!stream) {
    return Error::from_errno(errno, "list directory");
  }
  static_cast<void>(own.release());
  std::vector<DirectoryEntry> entries;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());  // NOLINT(concurrency-mt-unsafe): own stream
    if (entry == nullptr && errno != 0) {
      return Error::from_errno(errno, "list directory");
    }
    if (entry == nullptr) {
      break;
    }
    const std::string name(&entry->d_name[0]);
    if (name == "." || name == "..") {
      continue;
    }
    if (entries.size() == limit) {
      return Error(ErrorCode::kLimitExceeded,
                   "the directory has more than " + std::to_string(limit) + " entries");
    }
    struct stat status {};
    if (::fstatat(fd_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return Error::from_errno(errno, "stat " + printable(name));
    }
    entries.push_back({name, kind_of(status.st_mode)});
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

Result<UntrustedDirectory> UntrustedDirectory::duplicate() const {
  UniqueFd fd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) {
    return Error::from_errno(errno, "duplicate a descriptor");
  }
  return UntrustedDirectory(std::move(fd));
}

}  // namespace base
