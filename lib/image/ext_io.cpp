#include "image/ext_io.hpp"

#include <ext2fs/ext2fs.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "image/block_cache.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;

/// What libext2fs knows as a channel, and what is behind it.
struct Channel {
  explicit Channel(BlockRange whole) : range(std::move(whole)) {}

  struct_io_channel channel{};
  std::string name;
  BlockRange range;
  std::optional<BlockCache> cache;  // made when it is first needed, for the block size of then
  bool writable = false;
  bool abandoned = false;
};

Channel& behind(io_channel channel) {
  return *static_cast<Channel*>(channel->private_data);
}

/// An error as libext2fs passes it on.
errcode_t to_ext(const base::Status& status, errcode_t outside) {
  if (status) {
    return 0;
  }
  switch (status.error().code()) {
    case ErrorCode::kDiskImage:
      return outside;
    case ErrorCode::kNoSpace:
      return ENOSPC;
    default:
      return EIO;
  }
}

BlockCache& cache_of(Channel& channel) {
  if (!channel.cache) {
    channel.cache.emplace(static_cast<std::uint32_t>(channel.channel.block_size),
                          channel.range.size_bytes());
  }
  return *channel.cache;
}

std::uint64_t block_bytes_of(const Channel& channel) {
  return static_cast<std::uint64_t>(channel.channel.block_size);
}

/// Where `count` blocks at `block` are in the range, or bytes if `count` is negative.
struct Place {
  std::uint64_t at;
  std::size_t size;
};

base::Result<Place> place_of(const Channel& channel, std::uint64_t block, std::int64_t count) {
  const std::uint64_t block_bytes = block_bytes_of(channel);
  const std::uint64_t magnitude = static_cast<std::uint64_t>(count < 0 ? -count : count);
  if (block > channel.range.size_bytes() / block_bytes || magnitude > channel.range.size_bytes()) {
    return Error(ErrorCode::kDiskImage, "block " + std::to_string(block) + " is outside");
  }
  return Place{block * block_bytes, count < 0 ? magnitude : magnitude * block_bytes};
}

base::Status read_past_cache(Channel& channel, std::uint64_t at, std::span<std::uint8_t> buffer) {
  if (channel.cache && !buffer.empty() && !channel.abandoned) {
    const std::uint64_t block_bytes = block_bytes_of(channel);
    const std::uint64_t first = at / block_bytes;
    OU_CHECK(channel.cache->flush(channel.range, first,
                                  (at + buffer.size() - 1) / block_bytes - first + 1));
  }
  return channel.range.read(at, buffer);
}

base::Status write_past_cache(Channel& channel, std::uint64_t at, base::ByteView bytes) {
  if (!channel.writable || channel.abandoned) {
    return Error(ErrorCode::kInternal, "the file system is open for reading");
  }
  if (bytes.empty()) {
    return base::ok();
  }
  if (channel.cache) {
    const std::uint64_t block_bytes = block_bytes_of(channel);
    const std::uint64_t first = at / block_bytes;
    const std::uint64_t last = (at + bytes.size() - 1) / block_bytes;
    if (at % block_bytes != 0 || (at + bytes.size()) % block_bytes != 0) {
      OU_CHECK(channel.cache->flush(channel.range, first, last - first + 1));
    }
    channel.cache->forget(first, last - first + 1);
  }
  return channel.range.write(at, bytes);
}

/// The three numbers of range_io_name().
std::optional<std::array<std::uint64_t, 3>> numbers_in(const char* name) {
  const std::string_view text = name;
  std::array<std::uint64_t, 3> numbers{};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (std::uint64_t& number : numbers) {
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc{}) {
      return std::nullopt;
    }
    at = next == end ? next : next + 1;
  }
  return numbers;
}

errcode_t open_channel(const char* name, int flags, io_channel* result) {
  const auto numbers = numbers_in(name);
  if (!numbers || (*numbers)[0] > std::numeric_limits<int>::max()) {
    return EXT2_ET_BAD_DEVICE_NAME;
  }
  base::UniqueFd fd(::fcntl(static_cast<int>((*numbers)[0]), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) {
    return errno;
  }
  auto made = std::make_unique<Channel>(BlockRange(
      std::make_shared<const base::UniqueFd>(std::move(fd)), (*numbers)[1], (*numbers)[2]));
  made->name = name;
  made->writable = (flags & IO_FLAG_RW) != 0;
  made->channel.magic = EXT2_ET_MAGIC_IO_CHANNEL;
  made->channel.manager = range_io_manager();
  made->channel.name = made->name.data();
  made->channel.block_size = 1024;
  made->channel.refcount = 1;
  made->channel.private_data = made.get();
  *result = &made.release()->channel;
  return 0;
}

errcode_t flush_channel(io_channel channel) {
  Channel& self = behind(channel);
  if (!self.cache || self.abandoned) {
    return 0;
  }
  return to_ext(self.cache->flush(self.range), EXT2_ET_SHORT_WRITE);
}

errcode_t close_channel(io_channel channel) {
  if (--channel->refcount > 0) {
    return 0;
  }
  const std::unique_ptr<Channel> self(&behind(channel));
  return flush_channel(channel);
}

errcode_t set_block_bytes(io_channel channel, int block_bytes) {
  Channel& self = behind(channel);
  if (block_bytes <= 0) {
    return EXT2_ET_INVALID_ARGUMENT;
  }
  if (channel->block_size != block_bytes) {
    if (const errcode_t error = flush_channel(channel); error != 0) {
      return error;
    }
    self.cache.reset();
    channel->block_size = block_bytes;
  }
  return 0;
}

errcode_t read_blocks(io_channel channel, unsigned long long block, int count, void* data) {
  Channel& self = behind(channel);
  const auto place = place_of(self, block, count);
  if (!place) {
    return EXT2_ET_SHORT_READ;
  }
  const std::span buffer(static_cast<std::uint8_t*>(data), place->size);
  return to_ext(count == 1 ? cache_of(self).read(self.range, block, buffer)
                           : read_past_cache(self, place->at, buffer),
                EXT2_ET_SHORT_READ);
}

errcode_t write_blocks(io_channel channel, unsigned long long block, int count, const void* data) {
  Channel& self = behind(channel);
  const auto place = place_of(self, block, count);
  if (!place ||
      place->size > self.range.size_bytes() - std::min(place->at, self.range.size_bytes())) {
    return EXT2_ET_SHORT_WRITE;  // here, as the cache finds it out only when it writes
  }
  const base::ByteView bytes(static_cast<const std::uint8_t*>(data), place->size);
  return to_ext(count == 1 && self.writable ? cache_of(self).write(self.range, block, bytes)
                                            : write_past_cache(self, place->at, bytes),
                EXT2_ET_SHORT_WRITE);
}

errcode_t read_blocks_32(io_channel channel, unsigned long block, int count, void* data) {
  return read_blocks(channel, block, count, data);
}

errcode_t write_blocks_32(io_channel channel, unsigned long block, int count, const void* data) {
  return write_blocks(channel, block, count, data);
}

errcode_t write_some_bytes(io_channel channel, unsigned long offset, int count, const void* data) {
  if (count < 0) {
    return EXT2_ET_INVALID_ARGUMENT;
  }
  const base::ByteView bytes(static_cast<const std::uint8_t*>(data),
                             static_cast<std::size_t>(count));
  return to_ext(write_past_cache(behind(channel), offset, bytes), EXT2_ET_SHORT_WRITE);
}

errcode_t zero_blocks(io_channel channel, unsigned long long block, unsigned long long count) {
  Channel& self = behind(channel);
  const std::uint64_t block_bytes = block_bytes_of(self);
  const std::uint64_t blocks = self.range.size_bytes() / block_bytes;
  if (!self.writable || self.abandoned || block > blocks || count > blocks - block) {
    return EXT2_ET_SHORT_WRITE;
  }
  if (count == 0) {
    return 0;
  }
  if (self.cache) {
    self.cache->forget(block, count);
  }
  const std::uint64_t at = self.range.offset_bytes() + block * block_bytes;
  if (::fallocate(self.range.fd()->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(at), static_cast<off_t>(count * block_bytes)) == 0) {
    return 0;
  }
  return EXT2_ET_UNIMPLEMENTED;  // libext2fs writes the zeros itself
}

errcode_t read_ahead(io_channel channel, unsigned long long block, unsigned long long count) {
  const Channel& self = behind(channel);
  const std::uint64_t block_bytes = block_bytes_of(self);
  const std::uint64_t blocks = self.range.size_bytes() / block_bytes;
  if (block <= blocks && count <= blocks - block) {
    // Advice: whoever reads in earnest sees the errors.
    static_cast<void>(::posix_fadvise(
        self.range.fd()->get(), static_cast<off_t>(self.range.offset_bytes() + block * block_bytes),
        static_cast<off_t>(count * block_bytes), POSIX_FADV_WILLNEED));
  }
  return 0;
}

constexpr struct_io_manager make_manager() {
  struct_io_manager manager{};
  manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
  manager.name = "a stretch of a disk image";
  manager.open = open_channel;
  manager.close = close_channel;
  manager.set_blksize = set_block_bytes;
  manager.read_blk = read_blocks_32;
  manager.write_blk = write_blocks_32;
  manager.flush = flush_channel;
  manager.write_byte = write_some_bytes;
  manager.read_blk64 = read_blocks;
  manager.write_blk64 = write_blocks;
  manager.cache_readahead = read_ahead;
  manager.zeroout = zero_blocks;
  return manager;
}

}  // namespace

struct_io_manager* range_io_manager() {
  // Never changed; only libext2fs's interface wants it without const.
  static struct_io_manager manager = make_manager();
  return &manager;
}

std::string range_io_name(const BlockRange& range) {
  return std::to_string(range.fd()->get()) + ":" + std::to_string(range.offset_bytes()) + ":" +
         std::to_string(range.size_bytes());
}

base::Status range_io_read(struct_io_channel* channel, std::uint64_t at,
                           std::span<std::uint8_t> buffer) {
  return read_past_cache(behind(channel), at, buffer);
}

base::Status range_io_write(struct_io_channel* channel, std::uint64_t at, base::ByteView bytes) {
  return write_past_cache(behind(channel), at, bytes);
}

void range_io_abandon(struct_io_channel* channel) {
  behind(channel).abandoned = true;
}

}  // namespace image
