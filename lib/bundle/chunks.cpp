#include "bundle/chunks.hpp"

#include <zstd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <optional>
#include <thread>

#include "base/handle.hpp"
#include "bundle/limits.hpp"
#include "oci/decoder.hpp"

namespace bundle {
namespace {

using base::Bytes;
using base::Error;
using base::ErrorCode;

/// Reads chunks on a thread of its own, one ahead of the consumer.
class ChunkReader {
 public:
  ChunkReader(ChunkProvider& provider, const Blob& blob, std::size_t first)
      : thread_([this, &provider, &blob, first](const std::stop_token& stop) {
          read_all(provider, blob, first, stop);
        }) {}

  /// The next chunk; nothing after the last.
  base::Result<std::optional<Bytes>> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ready_.empty() || finished_; });
    if (ready_.empty()) {
      return std::optional<Bytes>();
    }
    auto chunk = std::move(ready_.front());
    ready_.pop_front();
    changed_.notify_all();
    if (!chunk) {
      return std::move(chunk).error();
    }
    return std::optional<Bytes>(*std::move(chunk));
  }

 private:
  void read_all(ChunkProvider& provider, const Blob& blob, std::size_t first,
                const std::stop_token& stop) {
    const std::size_t count = chunk_count(blob);
    bool failed = false;
    for (std::size_t index = first; index < count && !failed && !stop.stop_requested(); ++index) {
      auto chunk = provider.read_chunk(blob, index);
      failed = !chunk;
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [this] { return ready_.empty(); });
      ready_.push_back(std::move(chunk));
      changed_.notify_all();
    }
    const std::lock_guard lock(mutex_);
    finished_ = true;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<base::Result<Bytes>> ready_;
  bool finished_ = false;
  std::jthread thread_;  // last: it is gone before what it uses
};

/// The stored bytes of a blob, from its first chunk on.
class StoredBytes final : public oci::ByteSource {
 public:
  StoredBytes(ChunkProvider& provider, const Blob& blob, std::size_t first_chunk)
      : reader_(provider, blob, first_chunk) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (position_ == chunk_.size()) {
      OU_TRY(auto next, reader_.next());
      if (!next) {
        return std::size_t{0};
      }
      chunk_ = *std::move(next);
      position_ = 0;
    }
    const auto count = std::min(buffer.size(), chunk_.size() - position_);
    std::copy_n(chunk_.begin() + static_cast<long>(position_), count, buffer.begin());
    position_ += count;
    return count;
  }

 private:
  ChunkReader reader_;
  Bytes chunk_;
  std::size_t position_ = 0;
};

Error expansion_error(const Blob& blob) {
  return Error(ErrorCode::kBlobExpansion,
               "blob " + blob.digest.text() + " does not expand to the size in the manifest");
}

/// Decompresses frame by frame; each has to hold exactly as much as the table says.
class FrameBytes final : public oci::ByteSource {
 public:
  FrameBytes(ChunkProvider& provider, const Blob& blob, std::uint64_t offset)
      : blob_(blob),
        index_(offset / blob.chunks.size_bytes),
        skip_(offset % blob.chunks.size_bytes),
        reader_(provider, blob, index_) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (position_ == size_) {
      OU_TRY(const bool more, next_frame());
      if (!more) {
        return std::size_t{0};
      }
    }
    const auto count = std::min(buffer.size(), size_ - position_);
    std::copy_n(plain_.begin() + static_cast<long>(position_), count, buffer.begin());
    position_ += count;
    return count;
  }

 private:
  base::Result<bool> next_frame() {
    OU_TRY(const auto chunk, reader_.next());
    if (!chunk) {
      return false;
    }
    const std::uint64_t start = std::uint64_t{index_} * blob_.chunks.size_bytes;
    const auto expected = static_cast<std::size_t>(
        std::min<std::uint64_t>(blob_.chunks.size_bytes, blob_.uncompressed_size_bytes - start));
    plain_.resize(expected);
    // One frame and no more: anything after it would be bytes that nobody asked for.
    const bool one_frame =
        ZSTD_findFrameCompressedSize(chunk->data(), chunk->size()) == chunk->size();
    const std::size_t size = ZSTD_decompressDCtx(context_.get(), plain_.data(), plain_.size(),
                                                 chunk->data(), chunk->size());
    if (!one_frame || ZSTD_isError(size) != 0 || size != expected) {
      return expansion_error(blob_);
    }
    index_ += 1;
    size_ = size;
    position_ = std::exchange(skip_, 0);
    return true;
  }

  const Blob& blob_;
  std::size_t index_;
  std::size_t skip_;
  base::Handle<ZSTD_DCtx, ZSTD_freeDCtx> context_{ZSTD_createDCtx()};
  Bytes plain_;
  std::size_t size_ = 0;
  std::size_t position_ = 0;
  ChunkReader reader_;
};

/// Lets exactly the announced number of bytes through.
class ExactBytes final : public oci::ByteSource {
 public:
  ExactBytes(std::unique_ptr<oci::ByteSource> source, const Blob& blob, std::uint64_t left)
      : source_(std::move(source)), blob_(blob), left_(left) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (buffer.empty()) {
      return std::size_t{0};
    }
    if (left_ == 0) {
      std::uint8_t extra = 0;
      OU_TRY(const auto more, source_->read({&extra, 1}));
      return more == 0 ? base::Result<std::size_t>(std::size_t{0}) : expansion_error(blob_);
    }
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_));
    OU_TRY(const auto got, source_->read(buffer.first(want)));
    if (got == 0) {
      return expansion_error(blob_);
    }
    left_ -= got;
    return got;
  }

 private:
  std::unique_ptr<oci::ByteSource> source_;
  const Blob& blob_;
  std::uint64_t left_;
};

base::Status skip(oci::ByteSource& source, std::uint64_t count) {
  Bytes buffer(std::size_t{64} * 1024);
  while (count > 0) {
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), count));
    OU_TRY(const auto got, source.read(std::span(buffer).first(want)));
    if (got == 0) {
      return Error(ErrorCode::kBlobExpansion, "the blob ends before the offset that was asked for");
    }
    count -= got;
  }
  return base::ok();
}

}  // namespace

base::Result<std::unique_ptr<oci::ByteSource>> open_uncompressed(ChunkProvider& provider,
                                                                 const Blob& blob,
                                                                 std::uint64_t offset) {
  if (offset > blob.uncompressed_size_bytes) {
    return Error(ErrorCode::kInternal, "offset behind the end of blob " + blob.digest.text());
  }
  const std::uint64_t left = blob.uncompressed_size_bytes - offset;
  std::unique_ptr<oci::ByteSource> source;
  if (blob.chunks.kind == ChunkTable::Kind::kFrames) {
    source = std::make_unique<FrameBytes>(provider, blob, offset);
  } else if (blob.encoding == oci::Encoding::kNone) {
    const std::size_t first = offset / blob.chunks.size_bytes;
    source = std::make_unique<StoredBytes>(provider, blob, first);
    OU_CHECK(skip(*source, offset % blob.chunks.size_bytes));
  } else {
    source = oci::open_decoder(std::make_unique<StoredBytes>(provider, blob, 0), blob.encoding);
    OU_CHECK(skip(*source, offset));
  }
  return std::make_unique<ExactBytes>(std::move(source), blob, left);
}

base::Result<std::string> read_small_blob(ChunkProvider& provider, const Blob& blob,
                                          std::size_t limit_bytes) {
  if (blob.size_bytes > limit_bytes || blob.encoding != oci::Encoding::kNone) {
    return Error(ErrorCode::kLimitExceeded, "blob " + blob.digest.text() + " is no document of " +
                                                std::to_string(limit_bytes) + " bytes at most");
  }
  std::string text;
  for (std::size_t index = 0; index < chunk_count(blob); ++index) {
    OU_TRY(const auto chunk, provider.read_chunk(blob, index));
    text += base::as_text(chunk);
  }
  return text;
}

}  // namespace bundle
