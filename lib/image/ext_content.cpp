#include "image/ext_content.hpp"

#include <algorithm>
#include <vector>

#include "image/ext_errors.hpp"
#include "image/ext_io.hpp"
#include "image/ext_state.hpp"

namespace image {

using base::Error;
using base::ErrorCode;

namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;

Inode large_copy(const ext2_inode& inode) {
  Inode large{};
  std::copy_n(reinterpret_cast<const char*>(&inode), sizeof(inode),
              reinterpret_cast<char*>(&large));
  return large;
}

/// ext2fs_punch() does not do for this: in version 1.47.0 it refuses to free the last block of a
/// file system.
/// \source https://github.com/tytso/e2fsprogs lib/ext2fs/punch.c, punch_extent_blocks()
base::Status release_blocks(ext2_filsys handle, std::uint32_t number, Inode& inode) {
  if (ext2fs_inode_has_valid_blocks2(handle, reinterpret_cast<ext2_inode*>(&inode)) == 0) {
    return base::ok();
  }
  std::vector<std::uint64_t> map_blocks;
  OU_TRY(const auto runs, read_runs(handle, number, inode, &map_blocks));
  for (const Run& run : runs) {
    ext2fs_block_alloc_stats_range(handle, run.physical, run.count, -1);
  }
  for (const std::uint64_t block : map_blocks) {
    ext2fs_block_alloc_stats2(handle, block, -1);
  }
  return base::ok();
}

/// The source until the buffer is full.
base::Status fill(oci::ByteSource& content, std::span<std::uint8_t> buffer) {
  while (!buffer.empty()) {
    OU_TRY(const std::size_t got, content.read(buffer));
    if (got == 0) {
      return Error(ErrorCode::kIo,
                   "the content of a file ends before the size it was said to have");
    }
    buffer = buffer.subspan(got);
  }
  return base::ok();
}

base::Status write_run(ext2_filsys handle, const Run& run, oci::ByteSource& content,
                       std::uint64_t size_bytes, std::vector<std::uint8_t>& piece) {
  const std::uint64_t block_bytes = handle->blocksize;
  std::uint64_t in_file = run.first * block_bytes;
  std::uint64_t on_disk = run.physical * block_bytes;
  const std::uint64_t end = in_file + run.count * block_bytes;
  while (in_file < end) {
    const std::size_t count = std::min<std::uint64_t>(piece.size(), end - in_file);
    const std::size_t inside = std::min<std::uint64_t>(count, size_bytes - in_file);
    OU_CHECK(fill(content, std::span(piece).first(inside)));
    std::fill_n(piece.begin() + static_cast<std::ptrdiff_t>(inside), count - inside,
                std::uint8_t{0});
    OU_CHECK(range_io_write(handle->io, on_disk, std::span(piece).first(count)));
    in_file += count;
    on_disk += count;
  }
  return base::ok();
}

}  // namespace

base::Status write_content(struct_ext2_filsys* handle, std::uint32_t number, ext2_inode& inode,
                           oci::ByteSource& content, std::uint64_t size_bytes) {
  const std::uint64_t block_bytes = handle->blocksize;
  const std::uint64_t blocks = base::in_blocks(size_bytes, block_bytes) / block_bytes;
  if (blocks > ext2fs_free_blocks_count(handle->super)) {
    return Error(ErrorCode::kNoSpace, std::to_string(size_bytes) +
                                          " bytes are more than what is free in the file system");
  }
  constexpr int kInitialised = EXT2_FALLOCATE_FORCE_INIT | EXT2_FALLOCATE_INIT_BEYOND_EOF;
  constexpr blk64_t kAnyGoal = ~blk64_t{0};
  if (const errcode_t error =
          ext2fs_fallocate(handle, kInitialised, number, &inode, kAnyGoal, 0, blocks);
      error != 0) {
    return ext_error(error, "allocate the blocks of a file");
  }
  if (const errcode_t error =
          ext2fs_inode_size_set(handle, &inode, static_cast<ext2_off64_t>(size_bytes));
      error != 0) {
    return ext_error(error, "set the size of a file");
  }
  Inode large = large_copy(inode);
  OU_TRY(const auto runs, blocks == 0 ? std::vector<Run>{} : read_runs(handle, number, large));
  std::vector<std::uint8_t> piece(std::min<std::uint64_t>(kPieceBytes, blocks * block_bytes));
  std::uint64_t next = 0;
  for (const Run& run : runs) {
    if (run.first != next || run.zeros) {
      return Error(ErrorCode::kInternal, "libext2fs has allocated blocks with holes");
    }
    OU_CHECK(write_run(handle, run, content, size_bytes, piece));
    next = run.first + run.count;
  }
  std::uint8_t more = 0;
  OU_TRY(const std::size_t got, content.read({&more, 1}));
  if (next != blocks || got != 0) {
    return Error(ErrorCode::kIo,
                 "the content of a file is longer than the size it was said to have");
  }
  return base::ok();
}

base::Status release_inode(struct_ext2_filsys* handle, std::uint32_t number, ext2_inode& inode) {
  const std::string doing = "free inode " + std::to_string(number);
  Inode large{};
  if (const errcode_t error = ext2fs_read_inode_full(
          handle, number, reinterpret_cast<ext2_inode*>(&large), static_cast<int>(sizeof(large)));
      error != 0) {
    return ext_error(error, doing);
  }
  std::copy_n(reinterpret_cast<const char*>(&inode), sizeof(inode),
              reinterpret_cast<char*>(&large));
  OU_CHECK(release_blocks(handle, number, large).within(doing));
  if (const errcode_t error = ext2fs_free_ext_attr(handle, number, &large); error != 0) {
    return ext_error(error, doing);
  }
  const bool directory = LINUX_S_ISDIR(large.i_mode);
  large.i_links_count = 0;
  large.i_size = 0;
  large.i_size_high = 0;
  large.i_blocks = 0;
  large.osd2.linux2.l_i_blocks_hi = 0;
  large.i_dtime = static_cast<std::uint32_t>(handle->now);
  if (const errcode_t error = ext2fs_write_inode_full(
          handle, number, reinterpret_cast<ext2_inode*>(&large), static_cast<int>(sizeof(large)));
      error != 0) {
    return ext_error(error, doing);
  }
  ext2fs_inode_alloc_stats2(handle, number, -1, directory ? 1 : 0);
  return base::ok();
}

}  // namespace image
