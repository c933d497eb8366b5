// A medium made of a file: a loop device with a number that no other program picks by chance.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "media/block_device.hpp"
#include "media/mounter.hpp"

namespace support {

/// Ends the test as failed when it does not run as root. It is not skipped: a test that is skipped
/// proves nothing, and says so to nobody.
void require_root();

/// Makes a sparse file. \return its path
std::filesystem::path make_file(const std::filesystem::path& path, std::uint64_t size_bytes);

/// An ext4 image of `size_bytes` with the files of `content`.
std::filesystem::path make_ext4(const std::filesystem::path& path,
                                const std::filesystem::path& content,
                                const std::vector<std::string>& options = {},
                                std::uint64_t size_bytes = std::uint64_t{16} << 20U);

/// A disk of 64 MiB with the partition table that `script` (for sfdisk) describes.
std::filesystem::path make_partitioned(const std::filesystem::path& path, std::string_view script);

class LoopDisk {
 public:
  LoopDisk();  // a drive without a medium
  explicit LoopDisk(const std::filesystem::path& image,
                    const std::vector<std::string>& options = {});
  LoopDisk(const LoopDisk&) = delete;
  LoopDisk& operator=(const LoopDisk&) = delete;
  ~LoopDisk();

  void insert(const std::filesystem::path& image, const std::vector<std::string>& options = {});
  void eject();
  /// Tells the kernel the partitions of the table, as udev or the kernel itself does elsewhere.
  void add_partitions();
  /// Makes the kernel announce the disk once more.
  void announce() const;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string node() const { return "/dev/" + name_; }
  [[nodiscard]] dev_t number() const;
  /// As the agent sees it now; fails the test when there is none.
  [[nodiscard]] agent::media::Medium medium() const;
  /// Whether the kernel refuses writes.
  [[nodiscard]] bool is_read_only() const;

 private:
  unsigned index_;
  std::string name_;
  bool has_medium_ = false;
};

}  // namespace support
