// A FUSE file system with one file, `disk`, that writes down what is done to it: each write and
// each sync with its time, in the format of tests/lab/ou_lab/recorded_disk.py. Behind a loop device
// it is a disk of which is known afterwards what a power cut at any moment would have left.
//
//   recordfs IMAGE LOG MOUNTPOINT      returns when it is mounted, stays until it is unmounted
#define FUSE_USE_VERSION 35
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string_view>

#include "base/unique_fd.hpp"

namespace {

constexpr std::string_view kDisk = "/disk";

struct Recording {
  base::UniqueFd image;
  base::UniqueFd log;
};

Recording& recording() {
  return *static_cast<Recording*>(fuse_get_context()->private_data);
}

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const auto count = ::write(fd, data, size);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      return false;
    }
    data += count;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

/// Python's struct "=dcQI": without gaps, in this machine's order.
bool note(char kind, std::uint64_t offset, const char* data, std::uint32_t size) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const double seconds = static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
  std::array<char, 21> header{};
  std::memcpy(header.data(), &seconds, 8);
  header[8] = kind;
  std::memcpy(header.data() + 9, &offset, 8);
  std::memcpy(header.data() + 17, &size, 4);
  const int log = recording().log.get();
  return write_all(log, header.data(), header.size()) && write_all(log, data, size);
}

int get_attributes(const char* path, struct stat* attributes, fuse_file_info* /*file*/) {
  if (std::string_view(path) == "/") {
    attributes->st_mode = S_IFDIR | 0700;
    attributes->st_nlink = 2;
    return 0;
  }
  if (path != kDisk) {
    return -ENOENT;
  }
  return ::fstat(recording().image.get(), attributes) == 0 ? 0 : -errno;
}

int open_file(const char* path, fuse_file_info* /*file*/) {
  return path == kDisk ? 0 : -ENOENT;
}

int read_file(const char* /*path*/, char* buffer, std::size_t size, off_t offset,
              fuse_file_info* /*file*/) {
  const auto count = ::pread(recording().image.get(), buffer, size, offset);
  return count < 0 ? -errno : static_cast<int>(count);
}

int write_file(const char* /*path*/, const char* data, std::size_t size, off_t offset,
               fuse_file_info* /*file*/) {
  const auto count = ::pwrite(recording().image.get(), data, size, offset);
  if (count < 0) {
    return -errno;
  }
  const auto written = static_cast<std::uint32_t>(count);
  return note('W', static_cast<std::uint64_t>(offset), data, written) ? static_cast<int>(count)
                                                                      : -EIO;
}

int sync_file(const char* /*path*/, int /*data_only*/, fuse_file_info* /*file*/) {
  return note('F', 0, nullptr, 0) ? 0 : -EIO;
}

}  // namespace

int main(int count, char** words) {
  if (count != 4) {
    std::fputs("recordfs IMAGE LOG MOUNTPOINT\n", stderr);
    return 2;
  }
  Recording state{
      .image = base::UniqueFd(::open(words[1], O_RDWR | O_CLOEXEC)),
      .log = base::UniqueFd(::open(words[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600))};
  if (!state.image.valid() || !state.log.valid()) {
    std::perror("recordfs");
    return 1;
  }
  fuse_operations operations{};
  operations.getattr = get_attributes;
  operations.open = open_file;
  operations.read = read_file;
  operations.write = write_file;
  operations.fsync = sync_file;
  std::array<char*, 3> arguments{words[0], const_cast<char*>("-s"), words[3]};  // one thread
  return fuse_main(static_cast<int>(arguments.size()), arguments.data(), &operations, &state);
}
