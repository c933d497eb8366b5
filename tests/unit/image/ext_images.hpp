// Ext file systems for tests, made by mke2fs in the middle of a larger file: the bytes around each
// are a pattern, so that a write outside of it is seen.
#pragma once

#include <fcntl.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "image/block_range.hpp"
#include "image/ext_file_system.hpp"
#include "support/command.hpp"
#include "support/scratch.hpp"

namespace support {

constexpr std::uint64_t kGuardBytes = 1 << 20;

/// Options of mke2fs: block sizes, with and without checksums, extents and indexed directories.
inline const std::vector<std::vector<std::string>> kExtShapes = {
    {"-b", "4096", "-O", "metadata_csum,64bit"},
    {"-b", "4096", "-O", "^metadata_csum,^64bit"},
    {"-b", "1024", "-O", "metadata_csum,64bit"},
    {"-b", "1024", "-O", "^metadata_csum,^64bit,^extent"},
    {"-b", "4096", "-O", "^dir_index,^has_journal"},
};

/// Bytes that are nowhere alike.
inline std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t state = 12345;
  for (char& byte : text) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24U);
  }
  return text;
}

inline std::string all_bytes(const std::filesystem::path& path) {
  std::string bytes(std::filesystem::file_size(path), '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

class GuardedImage {
 public:
  /// \param options of mke2fs, such as "-b 4096 -O ^metadata_csum"; \param tree what is put in
  GuardedImage(const std::filesystem::path& path, std::uint64_t size_bytes,
               const std::vector<std::string>& options, const std::string& tree = "")
      : path_(path), size_bytes_(size_bytes) {
    const std::string guard(kGuardBytes, '\xa5');
    {
      std::ofstream out(path, std::ios::binary);
      out << guard;
      out.seekp(static_cast<std::streamoff>(kGuardBytes + size_bytes));
      out << guard;
    }
    std::vector<std::string> command = {"mke2fs", "-q", "-F", "-t", "ext4", "-L", "resin-data"};
    command.insert(command.end(), options.begin(), options.end());
    if (!tree.empty()) {
      command.insert(command.end(), {"-d", tree});
    }
    command.insert(command.end(), {"-E", "offset=" + std::to_string(kGuardBytes), path.string(),
                                   std::to_string(size_bytes / 1024) + "k"});
    must_run(command);
  }

  /// One that is there already.
  GuardedImage(const std::filesystem::path& path, std::uint64_t size_bytes)
      : path_(path), size_bytes_(size_bytes) {}

  [[nodiscard]] image::BlockRange range() const {
    base::UniqueFd fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.valid()) {
      throw std::runtime_error("cannot open " + path_.string());
    }
    return {std::make_shared<const base::UniqueFd>(std::move(fd)), kGuardBytes, size_bytes_};
  }
  /// How e2fsprogs' programs name it.
  [[nodiscard]] std::string name() const {
    return path_.string() + "?offset=" + std::to_string(kGuardBytes);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  [[nodiscard]] bool guards_intact() const {
    std::ifstream in(path_, std::ios::binary);
    std::string front(kGuardBytes, '\0');
    std::string back(kGuardBytes + 1, '\0');
    in.read(front.data(), static_cast<std::streamsize>(front.size()));
    in.seekg(static_cast<std::streamoff>(kGuardBytes + size_bytes_));
    in.read(back.data(), static_cast<std::streamsize>(back.size()));
    const std::string guard(kGuardBytes, '\xa5');
    return front == guard && static_cast<std::uint64_t>(in.gcount()) == kGuardBytes &&
           back.starts_with(guard);
  }

  /// What e2fsck -fn says; empty when nothing is wrong.
  [[nodiscard]] std::string faults() const {
    const CommandOutcome outcome = run_command({"e2fsck", "-fn", name()});
    return outcome.exit_code == 0 ? "" : outcome.output + outcome.errors;
  }
  /// Commands of debugfs that change it.
  void change(const std::string& command) const {
    must_run({"debugfs", "-w", "-R", command, name()});
  }

 private:
  std::filesystem::path path_;
  std::uint64_t size_bytes_;
};

/// Opens what has to open.
inline image::ExtFileSystem opened(
    const GuardedImage& image,
    image::ExtFileSystem::Access access = image::ExtFileSystem::Access::kRead) {
  auto files = image::ExtFileSystem::open(image.range(), access);
  INFO((files ? "" : files.error().message()));
  REQUIRE(files);
  return std::move(*files);
}

}  // namespace support
