// A drive with a fault: a FUSE file system with one file, `disk`, to put a loop device on.
//
//   faulty_disk BACKING MOUNTPOINT FAULT OFFSET    returns when it is mounted, stays until it is
//   unmounted
//
// FAULT at the byte OFFSET is one of: none; write-error and read-error (EIO for a request that
// covers it); lie (a read that covers it has that byte inverted); wrap (the drive holds only OFFSET
// bytes, and what is written behind them overwrites it from its start, as forged sticks do). The
// file system has no fallocate(), so the loop device has no command for zeros.
#define FUSE_USE_VERSION 35
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"

namespace {

struct Disk {
  base::UniqueFd backing;
  std::string fault;
  off_t offset = 0;
};

Disk& disk() {
  return *static_cast<Disk*>(fuse_get_context()->private_data);
}

bool covers(off_t at, std::size_t size) {
  return disk().offset >= at && disk().offset < at + static_cast<off_t>(size);
}

off_t place_of(off_t at) {
  return disk().fault == "wrap" ? at % disk().offset : at;
}

int get_attributes(const char* path, struct stat* attributes, fuse_file_info* /*file*/) {
  if (std::string_view(path) == "/") {
    attributes->st_mode = S_IFDIR | 0755;
    attributes->st_nlink = 2;
    return 0;
  }
  if (std::string_view(path) != "/disk") {
    return -ENOENT;
  }
  return ::fstat(disk().backing.get(), attributes) == 0 ? 0 : -errno;
}

int open_disk(const char* /*path*/, fuse_file_info* file) {
  file->direct_io = 1;
  return 0;
}

int read_disk(const char* /*path*/, char* buffer, std::size_t size, off_t at,
              fuse_file_info* /*file*/) {
  if (disk().fault == "read-error" && covers(at, size)) {
    return -EIO;
  }
  const auto got = ::pread(disk().backing.get(), buffer, size, place_of(at));
  if (got > 0 && disk().fault == "lie" && covers(at, static_cast<std::size_t>(got))) {
    char& byte = buffer[disk().offset - at];
    byte = static_cast<char>(~byte);
  }
  return got < 0 ? -errno : static_cast<int>(got);
}

int write_disk(const char* /*path*/, const char* buffer, std::size_t size, off_t at,
               fuse_file_info* /*file*/) {
  if (disk().fault == "write-error" && covers(at, size)) {
    return -EIO;
  }
  const auto put = ::pwrite(disk().backing.get(), buffer, size, place_of(at));
  return put < 0 ? -errno : static_cast<int>(put);
}

int sync_disk(const char* /*path*/, int /*data_only*/, fuse_file_info* /*file*/) {
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: faulty_disk BACKING MOUNTPOINT FAULT OFFSET\n");
    return 2;
  }
  Disk described{.backing = base::UniqueFd(::open(argv[1], O_RDWR | O_CLOEXEC)),
                 .fault = argv[3],
                 .offset = static_cast<off_t>(std::strtoll(argv[4], nullptr, 10))};
  if (!described.backing.valid()) {
    std::perror(argv[1]);
    return 1;
  }
  fuse_operations operations{};
  operations.getattr = get_attributes;
  operations.open = open_disk;
  operations.read = read_disk;
  operations.write = write_disk;
  operations.fsync = sync_disk;
  std::string program = "faulty_disk";
  std::string one_thread = "-s";
  char* arguments[] = {program.data(), one_thread.data(), argv[2], nullptr};
  return fuse_main(3, arguments, &operations, &described);
}
