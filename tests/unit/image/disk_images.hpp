// Disk images as balenaOS has them, small: a table made by sfdisk, FAT made by mkfs.vfat, ext4 made
// by mke2fs.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "image/image_file.hpp"
#include "image/run_program.hpp"
#include "support/command.hpp"
#include "support/scratch.hpp"

namespace support {

inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

struct DiskPart {
  unsigned number;
  std::string name;  // "boot"
  std::uint64_t offset_mib;
  std::uint64_t size_mib;
};

class DiskImage {
 public:
  enum class Kind { kMbr, kGpt };

  /// \param prefix "resin-" or "flash-": of the file systems' labels and of GPT names
  DiskImage(std::filesystem::path path, Kind kind, std::string prefix = "resin-")
      : path_(std::move(path)), kind_(kind), prefix_(std::move(prefix)) {
    std::ofstream(path_, std::ios::binary).close();
    std::filesystem::resize_file(path_, kSizeMib * kMiB);
    partition();
    for (const DiskPart& part : parts()) {
      part.name == "boot" ? make_fat(part) : make_ext(part);
    }
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Where the tables above put them.
  [[nodiscard]] std::vector<DiskPart> parts() const {
    const unsigned shift = kind_ == Kind::kMbr ? 1 : 0;
    return {{1, "boot", 4, 40},
            {2, "rootA", 44, 8},
            {3, "rootB", 52, 8},
            {4 + shift, "state", 64, 8},
            {5 + shift, "data", 76, 16}};
  }

  [[nodiscard]] image::SharedFd fd() const {
    base::UniqueFd fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.valid()) {
      throw std::runtime_error("cannot open " + path_.string());
    }
    return std::make_shared<const base::UniqueFd>(std::move(fd));
  }
  [[nodiscard]] image::ImageFile file() const { return *image::ImageFile::of(fd()); }

  /// What sfdisk reads in the table, without the name of the file.
  [[nodiscard]] std::string table() const {
    std::string text = must_run({"sfdisk", "--dump", path_.string()});
    for (std::size_t at = 0; (at = text.find(path_.string(), at)) != std::string::npos;) {
      text.erase(at, path_.string().size());
    }
    return text;
  }
  /// What sfdisk --verify finds wrong; empty when nothing.
  [[nodiscard]] std::string faults() const {
    const CommandOutcome outcome = run_command({"sfdisk", "--verify", path_.string()});
    const bool clean = outcome.exit_code == 0 && outcome.errors.empty() &&
                       outcome.output.find("No errors detected") != std::string::npos;
    // For an MBR it has nothing to say but unallocated sectors.
    return clean || (kind_ == Kind::kMbr && outcome.exit_code == 0 && outcome.errors.empty())
               ? ""
               : outcome.output + outcome.errors;
  }
  [[nodiscard]] std::string mtools_name(std::uint64_t offset_mib = 4) const {
    return path_.string() + "@@" + std::to_string(offset_mib * kMiB);
  }
  /// Puts a file on the boot partition, with mtools.
  void put(const std::string& name, const std::string& content) const {
    must(image::Program{.argv = {"mcopy", "-o", "-i", mtools_name(), "-", "::/" + name},
                        .input = content});
  }
  void write_at(std::uint64_t offset, const std::string& bytes) const {
    std::fstream out(path_, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(static_cast<std::streamoff>(offset));
    out << bytes;
  }
  [[nodiscard]] std::string read_at(std::uint64_t offset, std::uint64_t size) const {
    std::ifstream in(path_, std::ios::binary);
    in.seekg(static_cast<std::streamoff>(offset));
    std::string bytes(size, '\0');
    in.read(bytes.data(), static_cast<std::streamsize>(size));
    bytes.resize(static_cast<std::size_t>(in.gcount()));
    return bytes;
  }

 private:
  static constexpr std::uint64_t kSizeMib = 96;

  static void must(const image::Program& program) {
    if (const auto done = image::run_successfully(program, base::ErrorCode::kIo); !done) {
      throw std::runtime_error(done.error().message());
    }
  }

  void partition() const {
    std::string script = kind_ == Kind::kMbr ? "label: dos\nlabel-id: 0x0b5a1e4a\n"
                                             : "label: gpt\nlabel-id: 5CDE9D2D-7D14-4C4F-9B1A-"
                                               "0F5C8D4F7A01\n";
    for (const DiskPart& part : parts()) {
      if (kind_ == Kind::kMbr && part.name == "state") {
        script += "4: start=60MiB, size=32MiB, type=f\n";  // the extended one
      }
      script += std::to_string(part.number) + ": start=" + std::to_string(part.offset_mib) +
                "MiB, size=" + std::to_string(part.size_mib) + "MiB";
      if (kind_ == Kind::kMbr) {
        script += part.name == "boot" ? ", type=c, bootable" : ", type=83";
      } else {
        script += ", name=\"" + prefix_ + part.name + "\"";
        script += part.name == "boot" ? ", attrs=\"LegacyBIOSBootable\"" : "";
      }
      script += "\n";
    }
    must({.argv = {"sfdisk", "-q", "--no-reread", path_.string()}, .input = script});
  }

  void make_fat(const DiskPart& part) const {
    must_run({"mkfs.vfat", "-n", prefix_ + part.name, "-i", "1234abcd", "--offset",
              std::to_string(part.offset_mib * 2048), path_.string(),
              std::to_string(part.size_mib * 1024)});
  }
  void make_ext(const DiskPart& part) const {
    must_run({"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-L", prefix_ + part.name, "-E",
              "offset=" + std::to_string(part.offset_mib * kMiB), path_.string(),
              std::to_string(part.size_mib * 1024) + "k"});
  }

  std::filesystem::path path_;
  Kind kind_;
  std::string prefix_;
};

}  // namespace support
