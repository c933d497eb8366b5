#include "image/block_cache.hpp"

#include <algorithm>

namespace image {
namespace {

constexpr std::size_t kCacheBytes = std::size_t{8} << 20U;
constexpr std::size_t kWays = 8;  // slots that a block may be in

}  // namespace

BlockCache::BlockCache(std::uint32_t block_bytes, std::uint64_t size_bytes)
    : block_bytes_(block_bytes),
      slots_((std::min(kCacheBytes, size_bytes) / block_bytes / kWays + 1) * kWays),
      bytes_(slots_.size() * block_bytes) {}

std::size_t BlockCache::first_slot_of(std::uint64_t block) const {
  // Neighbours go to different sets; block groups, which are powers of two apart, must too.
  const std::uint64_t mixed = block ^ (block >> 15U) * 0x9E3779B97F4A7C15U;
  return mixed % (slots_.size() / kWays) * kWays;
}

std::optional<std::size_t> BlockCache::find(std::uint64_t block) const {
  const std::size_t first = first_slot_of(block);
  for (std::size_t slot = first; slot < first + kWays; ++slot) {
    if (slots_[slot].block == block) {
      return slot;
    }
  }
  return std::nullopt;
}

std::span<std::uint8_t> BlockCache::bytes_of(std::size_t slot) {
  return std::span(bytes_).subspan(slot * block_bytes_, block_bytes_);
}

base::Status BlockCache::write_back(const BlockRange& range, std::size_t slot) {
  if (slots_[slot].dirty) {
    OU_CHECK(range.write(slots_[slot].block * block_bytes_, bytes_of(slot)));
    slots_[slot].dirty = false;
    --dirty_;
  }
  return base::ok();
}

base::Result<std::size_t> BlockCache::take_slot(const BlockRange& range, std::uint64_t block) {
  const std::size_t first = first_slot_of(block);
  std::size_t oldest = first;
  for (std::size_t slot = first; slot < first + kWays; ++slot) {
    if (slots_[slot].used < slots_[oldest].used) {
      oldest = slot;
    }
  }
  OU_CHECK(write_back(range, oldest));
  slots_[oldest] = Slot{};
  return oldest;
}

base::Status BlockCache::read(const BlockRange& range, std::uint64_t block,
                              std::span<std::uint8_t> buffer) {
  auto slot = find(block);
  if (!slot) {
    OU_TRY(slot, take_slot(range, block));
    OU_CHECK(range.read(block * block_bytes_, bytes_of(*slot)));
    slots_[*slot].block = block;
  }
  slots_[*slot].used = ++clock_;
  std::ranges::copy(bytes_of(*slot), buffer.begin());
  return base::ok();
}

base::Status BlockCache::write(const BlockRange& range, std::uint64_t block, base::ByteView bytes) {
  auto slot = find(block);
  if (!slot) {
    OU_TRY(slot, take_slot(range, block));
    slots_[*slot].block = block;
  }
  Slot& taken = slots_[*slot];
  taken.used = ++clock_;
  dirty_ += taken.dirty ? 0U : 1U;
  taken.dirty = true;
  std::ranges::copy(bytes, bytes_of(*slot).begin());
  return base::ok();
}

template <typename Function>
base::Status BlockCache::each_cached(std::uint64_t first, std::uint64_t count, Function function) {
  if (count > slots_.size()) {
    for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot].block != kNone && slots_[slot].block >= first &&
          slots_[slot].block - first < count) {
        OU_CHECK(function(slot));
      }
    }
    return base::ok();
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    if (const auto slot = find(first + i)) {
      OU_CHECK(function(*slot));
    }
  }
  return base::ok();
}

base::Status BlockCache::flush(const BlockRange& range, std::uint64_t first, std::uint64_t count) {
  if (dirty_ == 0) {
    return base::ok();
  }
  return each_cached(first, count, [&](std::size_t slot) { return write_back(range, slot); });
}

base::Status BlockCache::flush(const BlockRange& range) {
  if (dirty_ == 0) {
    return base::ok();
  }
  std::vector<std::size_t> unwritten;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].dirty) {
      unwritten.push_back(slot);
    }
  }
  std::ranges::sort(unwritten, {}, [&](std::size_t slot) { return slots_[slot].block; });
  for (const std::size_t slot : unwritten) {
    OU_CHECK(write_back(range, slot));
  }
  return base::ok();
}

void BlockCache::forget(std::uint64_t first, std::uint64_t count) {
  static_cast<void>(each_cached(first, count, [&](std::size_t slot) {
    dirty_ -= slots_[slot].dirty ? 1U : 0U;
    slots_[slot] = Slot{};
    return base::ok();
  }));
}

}  // namespace image
