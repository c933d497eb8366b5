// A bounded write-back cache of single blocks: where libext2fs reads and writes the same inode
// table, bitmap and directory blocks again and again. Private to this library.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "image/block_range.hpp"

namespace image {

class BlockCache {
 public:
  /// Empty, for blocks of `block_bytes` of a range of `size_bytes`.
  BlockCache(std::uint32_t block_bytes, std::uint64_t size_bytes);

  /// One block. \error as BlockRange::read() and write(): an older block may have to be written
  base::Status read(const BlockRange& range, std::uint64_t block, std::span<std::uint8_t> buffer);
  /// One whole block; it reaches the range at the latest with flush(). \error as read()
  base::Status write(const BlockRange& range, std::uint64_t block, base::ByteView bytes);
  /// Writes what is unwritten, in the order of the blocks. \error as BlockRange::write()
  base::Status flush(const BlockRange& range);
  /// Writes what is unwritten of these blocks.
  base::Status flush(const BlockRange& range, std::uint64_t first, std::uint64_t count);
  /// Forgets these blocks, written or not.
  void forget(std::uint64_t first, std::uint64_t count);

 private:
  struct Slot {
    std::uint64_t block = kNone;
    std::uint64_t used = 0;  // when, by clock_
    bool dirty = false;
  };
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  [[nodiscard]] std::size_t first_slot_of(std::uint64_t block) const;
  [[nodiscard]] std::optional<std::size_t> find(std::uint64_t block) const;
  [[nodiscard]] std::span<std::uint8_t> bytes_of(std::size_t slot);
  base::Result<std::size_t> take_slot(const BlockRange& range, std::uint64_t block);
  base::Status write_back(const BlockRange& range, std::size_t slot);
  template <typename Function>
  base::Status each_cached(std::uint64_t first, std::uint64_t count, Function function);

  std::uint32_t block_bytes_;
  std::vector<Slot> slots_;
  base::Bytes bytes_;
  std::uint64_t clock_ = 0;
  std::size_t dirty_ = 0;
};

}  // namespace image
