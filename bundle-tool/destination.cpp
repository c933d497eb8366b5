#include "destination.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "console.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

// From linux/magic.h, which lacks exFAT in older headers.
constexpr std::uint64_t kFatMagic = 0x4d44;
constexpr std::uint64_t kExfatMagic = 0x2011bab0;
constexpr std::uint64_t kExtMagic = 0xef53;

constexpr std::uint64_t kDirectories = 4;  // the bundle's, blobs, sha256, and a grown parent
constexpr std::uint64_t kDirectoryBytesPerFile = 128;  // a long name of FAT takes this much

std::string hexadecimal(std::uint64_t number) {
  std::array<char, 24> text{};
  static_cast<void>(
      std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(number)));
  return text.data();
}

}  // namespace

Result<Destination> survey_destination(const std::filesystem::path& directory) {
  struct stat status {};
  struct stat root {};
  struct statfs kind {};
  struct statvfs room {};
  if (::stat(directory.c_str(), &status) != 0) {
    return Error::from_errno(errno, "look at " + directory.string());
  }
  if (!S_ISDIR(status.st_mode)) {
    return Error(ErrorCode::kUsage, directory.string() +
                                        " is no directory: name the one that the medium is mounted "
                                        "on");
  }
  if (::statfs(directory.c_str(), &kind) != 0 || ::statvfs(directory.c_str(), &room) != 0) {
    return Error::from_errno(errno, "look at the file system of " + directory.string());
  }
  Destination destination;
  const auto magic = static_cast<std::uint64_t>(kind.f_type);
  destination.devices_take_it = true;
  if (magic == kFatMagic) {
    destination.filesystem = "FAT";
    destination.max_file_bytes = (std::uint64_t{4} << 30) - 1;
  } else if (magic == kExfatMagic) {
    destination.filesystem = "exFAT";
  } else if (magic == kExtMagic) {
    destination.filesystem = "ext";
  } else {
    destination.filesystem = "type " + hexadecimal(magic);
    destination.devices_take_it = false;
  }
  destination.block_bytes = room.f_bsize;
  destination.free_bytes = std::uint64_t{room.f_bavail} * room.f_frsize;
  destination.counts_inodes = room.f_files > 0;
  destination.free_inodes = room.f_favail;
  destination.is_root_filesystem = ::stat("/", &root) == 0 && root.st_dev == status.st_dev;
  return destination;
}

base::Status check_fits(const Destination& destination, const std::vector<ListedFile>& missing) {
  const std::uint64_t block = std::max<std::uint64_t>(destination.block_bytes, 512);
  std::uint64_t needed = kDirectories * block + missing.size() * kDirectoryBytesPerFile;
  for (const ListedFile& file : missing) {
    if (destination.max_file_bytes > 0 && file.size_bytes > destination.max_file_bytes) {
      return Error(ErrorCode::kBlobTooLarge,
                   file.path + " has " + size_text(file.size_bytes) + ", and " +
                       destination.filesystem + " holds no file above " +
                       size_text(destination.max_file_bytes) + ": use exFAT or ext4");
    }
    needed += (file.size_bytes + block - 1) / block * block;
  }
  if (needed > destination.free_bytes) {
    return Error(ErrorCode::kNoSpace, "the medium has " + size_text(destination.free_bytes) +
                                          " free, and " + size_text(needed) +
                                          " are needed: make room or use a larger one");
  }
  if (destination.counts_inodes && missing.size() + kDirectories > destination.free_inodes) {
    return Error(ErrorCode::kNotEnoughInodes,
                 "the medium has room for " + std::to_string(destination.free_inodes) +
                     " more files, and " + std::to_string(missing.size() + kDirectories) +
                     " are needed");
  }
  return base::ok();
}

}  // namespace tool
