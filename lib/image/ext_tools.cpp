// Growing and checking ext file systems with e2fsprogs' own programs, without letting them near the
// image: resize2fs works on a copy of the blocks in use, in a scratch file of exactly the right
// size, and what has changed is carried over. (Given "IMAGE?offset=N", resize2fs 1.47.0 cuts the
// whole image to the size of the file system.)
// \source https://github.com/tytso/e2fsprogs resize/main.c, the call of ftruncate64()
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <optional>
#include <utility>

#include "base/printable.hpp"
#include "image/ext_errors.hpp"
#include "image/ext_state.hpp"
#include "image/ext_superblock.hpp"
#include "image/image_file.hpp"
#include "image/run_program.hpp"

namespace image {

using base::Error;
using base::ErrorCode;

namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;
constexpr auto kPackage = "e2fsprogs";

bool all_zero(base::ByteView bytes) {
  return std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0; });
}

/// Calls `visit` for the blocks in use, in order, in pieces of at most kPieceBytes.
/// \pre `files` is open for changing
base::Status each_used_piece(
    const ExtFileSystem& files,
    const std::function<base::Status(std::uint64_t at, std::size_t size)>& visit) {
  ext2_filsys const handle = files.handle();
  const std::uint64_t end = ext2fs_blocks_count(handle->super);
  const std::uint64_t most = kPieceBytes / handle->blocksize;
  blk64_t at = handle->super->s_first_data_block;
  while (at < end) {
    blk64_t first = 0;
    if (ext2fs_find_first_set_block_bitmap2(handle->block_map, at, end - 1, &first) != 0) {
      return base::ok();  // ENOENT: all the rest is free
    }
    blk64_t next_free = end;
    if (ext2fs_find_first_zero_block_bitmap2(handle->block_map, first, end - 1, &next_free) != 0) {
      next_free = end;
    }
    for (at = first; at < next_free;) {
      const std::uint64_t count = std::min<std::uint64_t>(most, next_free - at);
      OU_CHECK(visit(at * handle->blocksize, count * handle->blocksize));
      at += count;
    }
  }
  return base::ok();
}

base::Status copy_used(const ExtFileSystem& files, const BlockRange& from, const BlockRange& to) {
  base::Bytes buffer(kPieceBytes);
  return each_used_piece(files, [&](std::uint64_t at, std::size_t size) -> base::Status {
    const std::span piece = std::span(buffer).first(size);
    OU_CHECK(from.read(at, piece));
    return all_zero(piece) ? base::ok() : to.write(at, piece);
  });
}

/// Writes the blocks that differ.
base::Status carry_over(const BlockRange& from, const BlockRange& to, std::uint64_t at,
                        std::size_t size, std::size_t block_bytes) {
  base::Bytes wanted(size);
  base::Bytes present(size);
  OU_CHECK(from.read(at, wanted));
  OU_CHECK(to.read(at, present));
  for (std::size_t block = 0; block < size; block += block_bytes) {
    const base::ByteView bytes = base::ByteView(wanted).subspan(block, block_bytes);
    if (!std::ranges::equal(bytes, base::ByteView(present).subspan(block, block_bytes))) {
      OU_CHECK(to.write(at + block, bytes));
    }
  }
  return base::ok();
}

/// Carries over what is in use in `files`, the grown copy. The first piece, with the superblock,
/// comes last: until then the image has the file system that it had.
base::Status carry_over_used(const ExtFileSystem& files, const BlockRange& to) {
  std::optional<std::pair<std::uint64_t, std::size_t>> first;
  OU_CHECK(each_used_piece(files, [&](std::uint64_t at, std::size_t size) -> base::Status {
    if (!first) {
      first = {at, size};
      return base::ok();
    }
    return carry_over(files.range(), to, at, size, files.block_bytes());
  }));
  return first ? carry_over(files.range(), to, first->first, first->second, files.block_bytes())
               : base::ok();
}

/// Makes everything from `at` on zero.
base::Status clear_from(const BlockRange& range, std::uint64_t at) {
  const std::uint64_t size = range.size_bytes() - at;
  if (size == 0 ||
      ::fallocate(range.fd()->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(range.offset_bytes() + at), static_cast<off_t>(size)) == 0) {
    return base::ok();
  }
  base::Bytes present(kPieceBytes);
  const base::Bytes zeros(kPieceBytes);
  for (std::uint64_t done = 0; done < size;) {
    const std::size_t count = std::min<std::uint64_t>(kPieceBytes, size - done);
    const std::span piece = std::span(present).first(count);
    OU_CHECK(range.read(at + done, piece));
    if (!all_zero(piece)) {
      OU_CHECK(range.write(at + done, base::ByteView(zeros).first(count)));
    }
    done += count;
  }
  return base::ok();
}

std::string path_of(const BlockRange& range) {
  return "/proc/self/fd/" + std::to_string(range.fd()->get());
}

/// What e2fsck says first, past its version and the headings of its passes.
std::string first_finding(std::string_view output) {
  while (!output.empty()) {
    const std::size_t end = std::min(output.find('\n'), output.size());
    const std::string_view line = output.substr(0, end);
    if (!line.empty() && !line.starts_with("Pass ") && !line.starts_with("e2fsck ")) {
      return base::printable(line);
    }
    output.remove_prefix(std::min(end + 1, output.size()));
  }
  return "it does not say what";
}

base::Status run_resize2fs(const BlockRange& copy, std::uint64_t blocks, time_t now) {
  // The size is always said: without one resize2fs takes what it thinks the medium has.
  const Program program{.argv = {"resize2fs", "-f", path_of(copy), std::to_string(blocks)},
                        .package = kPackage,
                        .environment = {"E2FSPROGS_FAKE_TIME=" + std::to_string(now)},
                        .descriptors = {copy.fd()->get()}};
  OU_CHECK(run_successfully(program, ErrorCode::kDiskImage).within("grow an ext file system"));
  return base::ok();
}

}  // namespace

base::Status check_ext_file_system(const BlockRange& range) {
  OU_CHECK(read_ext_size(range));
  const Program program{
      .argv = {"e2fsck", "-fn", path_of(range) + "?offset=" + std::to_string(range.offset_bytes())},
      .package = kPackage,
      .descriptors = {range.fd()->get()}};
  OU_TRY(const ProgramResult result, run_program(program));
  if (result.exit_status != 0) {
    const std::string found = result.output.empty() ? result.errors : result.output;
    return Error(ErrorCode::kDiskImage,
                 "e2fsck finds the ext file system damaged: " + first_finding(found) +
                     "; take another copy of the image");
  }
  return base::ok();
}

base::Status grow_ext_file_system(const BlockRange& range, const std::filesystem::path& scratch) {
  auto opened = ExtFileSystem::open(range, ExtFileSystem::Access::kChange);
  if (!opened) {
    return std::move(opened).error().within("grow an ext file system");
  }
  const std::uint64_t block_bytes = opened->block_bytes();
  const std::uint64_t size_before = opened->size_bytes();
  const std::uint64_t blocks = range.size_bytes() / block_bytes;
  if (blocks * block_bytes == size_before) {
    return base::ok();
  }
  OU_TRY(const SharedFd fd, make_scratch_file(scratch));
  if (::ftruncate(fd->get(), static_cast<off_t>(blocks * block_bytes)) != 0) {
    return Error::from_errno(errno, "make a scratch file in " + scratch.string());
  }
  const BlockRange copy(fd, 0, blocks * block_bytes);
  OU_CHECK(copy_used(*opened, range, copy));
  const time_t now = opened->handle()->now;
  // Only what is sound is given to resize2fs, and only what is sound comes back.
  OU_CHECK(check_ext_file_system(copy));
  OU_CHECK(run_resize2fs(copy, blocks, now));
  OU_CHECK(check_ext_file_system(copy));
  OU_TRY(const ExtFileSystem grown, ExtFileSystem::open(copy, ExtFileSystem::Access::kChange));
  OU_CHECK(clear_from(range, size_before));
  return carry_over_used(grown, range);
}

}  // namespace image
