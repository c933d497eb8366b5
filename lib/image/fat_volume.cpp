#include "image/fat_volume.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/printable.hpp"
#include "base/sizes.hpp"
#include "image/fat_mending.hpp"
#include "image/fat_reader.hpp"
#include "image/image_file.hpp"
#include "image/run_program.hpp"

namespace image {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

namespace {

constexpr std::uint64_t kMaxVolumeBytes = std::uint64_t{4} << 30;
constexpr std::size_t kCompareBytes = 4096;
constexpr std::size_t kMaxNameBytes = 255;
constexpr std::size_t kMaxDepth = 16;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{256} << 20;

/// Whether FAT and mtools take a name as it is, and everybody sees what it is.
bool is_good_name(const std::string& name) {
  return name != "." && name != ".." && name.size() <= kMaxNameBytes && name.back() != '.' &&
         name.back() != ' ' && name.find_first_of("\"*:<>?\\|") == std::string::npos &&
         base::printable(name, kMaxNameBytes) == name;
}

Result<std::vector<std::string>> split(const std::string& path) {
  std::vector<std::string> names;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    std::string name = path.substr(at, end - at);
    at = end + 1;
    if (name.empty()) {
      continue;
    }
    if (!is_good_name(name)) {
      return Error(ErrorCode::kUsage,
                   base::printable(name) + " is a name that a FAT file system does not take");
    }
    names.push_back(std::move(name));
  }
  if (names.empty() || names.size() > kMaxDepth) {
    return Error(ErrorCode::kUsage, base::printable(path) + " is no path of a file");
  }
  return names;
}

std::string join(const std::vector<std::string>& names, std::size_t count) {
  std::string path;
  for (std::size_t i = 0; i < count; ++i) {
    path += "/" + names[i];
  }
  return path;
}

/// What decides the times of files that are written: the same input gives the same image.
std::string epoch(std::int64_t newest_seconds) {
  const char* given = std::getenv("SOURCE_DATE_EPOCH");
  return given != nullptr ? given : std::to_string(newest_seconds);
}

}  // namespace

struct FatVolume::State {
  BlockRange range;
  BlockRange copy;  // all of a nameless file
  std::int64_t newest_seconds;

  /// Runs one of the mtools on the copy: COMMAND -i COPY ARGUMENTS.
  [[nodiscard]] Status run(const std::string& command, const std::vector<std::string>& arguments,
                           std::string_view input = {}) const {
    const int fd = copy.fd()->get();
    Program program{
        .argv = {command, "-i", "/proc/self/fd/" + std::to_string(fd)},
        .package = "mtools",
        // No mtoolsrc but an empty one, and names in UTF-8. Our LC_ALL comes first and counts.
        .environment = {"LC_ALL=C.UTF-8", "MTOOLSRC=/dev/null", "HOME=/nonexistent",
                        "MTOOLS_SKIP_CHECK=1", "MTOOLS_FAT_COMPATIBILITY=0",
                        "SOURCE_DATE_EPOCH=" + epoch(newest_seconds)},
        .input = input,
        .descriptors = {fd},
        .time_limit = std::chrono::minutes(2)};
    program.argv.insert(program.argv.end(), arguments.begin(), arguments.end());
    OU_CHECK(run_successfully(program, ErrorCode::kIo));
    return base::ok();
  }

  [[nodiscard]] Result<std::optional<FatNode>> find(const std::string& path) const {
    OU_TRY(const FatReader reader, FatReader::open(copy));
    return reader.find(path);
  }

  [[nodiscard]] Status check_room(const std::string& path, std::uint64_t size_bytes,
                                  std::uint64_t present_bytes, std::size_t new_directories) const {
    OU_TRY(const FatReader reader, FatReader::open(copy));
    const std::uint64_t cluster = reader.layout().cluster_bytes;
    // One more for the directory that lists it, should it have to become longer.
    const std::uint64_t needed =
        base::in_blocks(size_bytes, cluster) + (new_directories + 1) * cluster;
    const std::uint64_t room = reader.free_bytes() + base::in_blocks(present_bytes, cluster);
    if (needed > room) {
      return Error(ErrorCode::kNoSpace, "the boot partition has no room for " +
                                            base::printable(path) + ": " + std::to_string(needed) +
                                            " bytes are needed and " + std::to_string(room) +
                                            " are free");
    }
    return base::ok();
  }
};

Result<FatVolume> FatVolume::open(const BlockRange& range, const std::filesystem::path& scratch) {
  OU_TRY(const FatReader reader, FatReader::open(range));
  OU_TRY(const std::int64_t newest_seconds, reader.check());
  if (range.size_bytes() > kMaxVolumeBytes) {
    return Error(ErrorCode::kLimitExceeded, "the FAT file system is larger than 4 GiB");
  }
  OU_TRY(const SharedFd fd, make_scratch_file(scratch));
  base::NoProgress quiet;
  OU_CHECK(copy_sparse(range, fd, quiet));
  const BlockRange copy(fd, 0, range.size_bytes());
  OU_CHECK(mend_fat(copy));
  return FatVolume(std::make_shared<State>(State{range, copy, newest_seconds}));
}

std::uint64_t FatVolume::free_bytes() const {
  const auto reader = FatReader::open(state_->copy);
  return reader ? reader->free_bytes() : 0;
}

Result<std::optional<std::string>> FatVolume::read_file(const std::string& path,
                                                        std::uint64_t limit_bytes) const {
  OU_TRY(const FatReader reader, FatReader::open(state_->copy));
  OU_TRY(const auto node, reader.find(path));
  if (!node) {
    return std::optional<std::string>();
  }
  OU_TRY(std::string content, reader.read(*node, limit_bytes));
  return std::optional(std::move(content));
}

Result<std::vector<FatEntry>> FatVolume::list(const std::string& path) const {
  OU_TRY(const FatReader reader, FatReader::open(state_->copy));
  OU_TRY(const auto directory, reader.find(path));
  const bool root = path.find_first_not_of('/') == std::string::npos;
  if (!root && (!directory || !directory->directory)) {
    return Error(ErrorCode::kNotFound, base::printable(path) + " is no directory");
  }
  OU_TRY(const std::vector<FatNode> nodes, root ? reader.root() : reader.list(*directory));
  std::vector<FatEntry> entries;
  for (const FatNode& node : nodes) {
    entries.push_back({node.name, node.directory, node.size_bytes});
  }
  return entries;
}

Status FatVolume::write_file(const std::string& path, std::string_view content) {
  OU_TRY(const auto names, split(path));
  if (content.size() > kMaxFileBytes) {
    return Error(ErrorCode::kLimitExceeded, base::printable(path) + " is larger than 256 MiB");
  }
  std::vector<std::string> missing;
  for (std::size_t depth = 1; depth < names.size(); ++depth) {
    OU_TRY(const auto node, state_->find(join(names, depth)));
    if (node && !node->directory) {
      return Error(ErrorCode::kDiskImage, join(names, depth) + " is a file, not a directory");
    }
    if (!node) {
      missing.push_back("::" + join(names, depth));
    }
  }
  OU_TRY(const auto present, state_->find(path));
  if (present && present->directory) {
    return Error(ErrorCode::kDiskImage, base::printable(path) + " is a directory");
  }
  OU_CHECK(
      state_->check_room(path, content.size(), present ? present->size_bytes : 0, missing.size()));
  for (const std::string& directory : missing) {
    OU_CHECK(state_->run("mmd", {directory}));
  }
  OU_CHECK(state_->run("mcopy", {"-o", "-", "::" + join(names, names.size())}, content)
               .within("write " + path));
  OU_TRY(const auto written, read_file(path, content.size()));
  if (!written || *written != content) {
    return Error(ErrorCode::kIo, path + " does not read back as it was written");
  }
  return base::ok();
}

Status FatVolume::remove_file(const std::string& path) {
  OU_TRY(const auto names, split(path));
  OU_TRY(const auto present, state_->find(path));
  if (!present) {
    return base::ok();
  }
  if (present->directory || path.find_first_of("[]") != std::string::npos) {
    // mdel takes brackets for a pattern that other files match.
    return Error(ErrorCode::kUsage, base::printable(path) + " cannot be removed");
  }
  return state_->run("mdel", {"::" + join(names, names.size())}).within("remove " + path);
}

Status FatVolume::commit() {
  OU_CHECK(check_fat(state_->copy).within("check what is about to be written"));
  std::array<std::uint8_t, kCompareBytes> before{};
  std::array<std::uint8_t, kCompareBytes> after{};
  const std::uint64_t size_bytes = state_->range.size_bytes();
  for (std::uint64_t at = 0; at < size_bytes; at += kCompareBytes) {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(kCompareBytes, size_bytes - at));
    const auto old_bytes = std::span(before).first(count);
    const auto new_bytes = std::span(after).first(count);
    OU_CHECK(state_->range.read(at, old_bytes));
    OU_CHECK(state_->copy.read(at, new_bytes));
    if (!std::equal(old_bytes.begin(), old_bytes.end(), new_bytes.begin())) {
      OU_CHECK(state_->range.write(at, new_bytes));
    }
  }
  if (::fsync(state_->range.fd()->get()) != 0) {
    return Error::from_errno(errno, "write the image to the disk");
  }
  return base::ok();
}

}  // namespace image
