// A read-only FUSE file system that shows a directory, and lies about it: a medium whose controller
// answers differently when it is asked again.
//
//   faultfs SOURCE MOUNTPOINT HONEST_READS      returns when it is mounted, stays until it is
//   unmounted
//
// The first HONEST_READS reads of each piece of each file give what is there; all later ones give
// it with its first byte inverted. Nothing is cached by the kernel, so every read of the program
// under test gets here.
#define FUSE_USE_VERSION 35
#include <dirent.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

#include "base/unique_fd.hpp"

namespace {

struct Lies {
  std::string source;
  std::uint64_t honest_reads = 0;
  std::map<std::pair<std::string, off_t>, std::uint64_t> reads;  // one thread: fuse runs with -s
};

Lies& lies() {
  return *static_cast<Lies*>(fuse_get_context()->private_data);
}

std::string below_source(const char* path) {
  return lies().source + path;
}

int get_attributes(const char* path, struct stat* attributes, fuse_file_info* /*file*/) {
  return ::lstat(below_source(path).c_str(), attributes) == 0 ? 0 : -errno;
}

int read_link(const char* path, char* target, std::size_t size) {
  const auto length = ::readlink(below_source(path).c_str(), target, size - 1);
  if (length < 0) {
    return -errno;
  }
  target[length] = '\0';
  return 0;
}

int list(const char* path, void* buffer, fuse_fill_dir_t fill, off_t /*offset*/,
         fuse_file_info* /*file*/, fuse_readdir_flags /*flags*/) {
  DIR* directory = ::opendir(below_source(path).c_str());
  if (directory == nullptr) {
    return -errno;
  }
  while (const auto* entry = ::readdir(directory)) {
    fill(buffer, entry->d_name, nullptr, 0, fuse_fill_dir_flags{});
  }
  ::closedir(directory);
  return 0;
}

int open_file(const char* path, fuse_file_info* file) {
  if ((file->flags & O_ACCMODE) != O_RDONLY) {
    return -EROFS;
  }
  file->direct_io = 1;
  return ::access(below_source(path).c_str(), R_OK) == 0 ? 0 : -errno;
}

int read_file(const char* path, char* buffer, std::size_t size, off_t offset,
              fuse_file_info* /*file*/) {
  const base::UniqueFd fd(::open(below_source(path).c_str(), O_RDONLY | O_CLOEXEC));
  const auto got = fd.valid() ? ::pread(fd.get(), buffer, size, offset) : -1;
  if (got < 0) {
    return -errno;
  }
  if (got > 0 && ++lies().reads[{path, offset}] > lies().honest_reads) {
    buffer[0] = static_cast<char>(~buffer[0]);
  }
  return static_cast<int>(got);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: faultfs SOURCE MOUNTPOINT HONEST_READS\n");
    return 2;
  }
  Lies told{.source = argv[1], .honest_reads = std::strtoull(argv[3], nullptr, 10)};
  fuse_operations operations{};
  operations.getattr = get_attributes;
  operations.readlink = read_link;
  operations.readdir = list;
  operations.open = open_file;
  operations.read = read_file;
  std::string program = "faultfs";
  std::string one_thread = "-s";
  char* arguments[] = {program.data(), one_thread.data(), argv[2], nullptr};
  return fuse_main(3, arguments, &operations, &told);
}
