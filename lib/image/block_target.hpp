// A drive that an image is written to: opened for this program alone, written and read past the
// kernel's cache. Private to this library and its tests.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/bytes.hpp"
#include "base/handle.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace image {

/// What memory for direct I/O is aligned to, and the largest block that a drive may have.
inline constexpr std::size_t kBlockBytes = 4096;

/// Memory for direct I/O.
class AlignedBuffer {
 public:
  /// All zero. \pre size_bytes is a multiple of kBlockBytes
  explicit AlignedBuffer(std::size_t size_bytes);

  [[nodiscard]] std::span<std::uint8_t> span() const { return {bytes_.get(), size_bytes_}; }

 private:
  base::Handle<std::uint8_t, std::free> bytes_;
  std::size_t size_bytes_;
};

bool is_all_zero(base::ByteView bytes);

class BlockTarget {
 public:
  /// \param expected the device number that the drive was looked at under
  /// \error ErrorCode::kDriveRefused when somebody else uses the drive, it is read-only, or by now
  ///   another one; kPermission, kNotFound, kIo
  static base::Result<BlockTarget> open(const std::filesystem::path& path, dev_t expected);

  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  /// What positions and lengths are multiples of: 512 or 4096.
  [[nodiscard]] std::uint32_t block_bytes() const { return block_bytes_; }

  /// \pre at and length are multiples of block_bytes(), the memory is an AlignedBuffer's
  /// \error ErrorCode::kIo with the position, or saying that the drive is gone
  base::Status write(std::uint64_t at, base::ByteView bytes) const;
  base::Status read(std::uint64_t at, std::span<std::uint8_t> buffer) const;

  /// Makes a stretch read as zeros: by a command for it where the drive has one that guarantees
  /// zeros; otherwise what reads back as zeros already is left, and zeros are written over the
  /// rest (without looking at every piece of it where there is only old data). Discarding alone is
  /// never relied on. \error as write()
  /// \source fallocate(2): FALLOC_FL_PUNCH_HOLE; block/fops.c in the Linux sources, where it is
  ///   REQ_OP_WRITE_ZEROES without fallback
  base::Status zero(std::uint64_t at, std::uint64_t size_bytes);

  /// Everything is on the medium. \error ErrorCode::kIo
  [[nodiscard]] base::Status sync() const;
  /// The kernel forgets what it knows of the content. Best effort: reads go past its cache anyway.
  void drop_cache() const;
  /// The kernel looks at the partition table again. Best effort.
  void reread_partitions() const;

 private:
  BlockTarget(base::UniqueFd fd, std::uint64_t size_bytes, std::uint32_t block_bytes,
              std::string name)
      : fd_(std::move(fd)),
        size_bytes_(size_bytes),
        block_bytes_(block_bytes),
        name_(std::move(name)) {}
  [[nodiscard]] base::Error failure(int error_number, const std::string& doing,
                                    std::uint64_t at) const;
  base::Status zero_where_needed(std::uint64_t at, std::uint64_t size_bytes);

  base::UniqueFd fd_;
  std::uint64_t size_bytes_;
  std::uint32_t block_bytes_;
  std::string name_;
  bool zeroes_by_command_ = true;  // until it turns out that it does not
  unsigned old_data_in_a_row_ = 0;
  unsigned blind_steps_ = 0;
};

}  // namespace image
