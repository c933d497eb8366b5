#include "blob_check.hpp"

#include <algorithm>
#include <array>

#include "oci/decoder.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

class MemorySource final : public oci::ByteSource {
 public:
  explicit MemorySource(base::Bytes bytes) : bytes_(std::move(bytes)) {}
  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const std::size_t count = std::min(buffer.size(), bytes_.size() - offset_);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset_), count, buffer.begin());
    offset_ += count;
    return count;
  }

 private:
  base::Bytes bytes_;
  std::size_t offset_ = 0;
};

/// Chunk after chunk of one blob. Reports those that are wrong; stops when asked to at the first.
class ChunkSequence {
 public:
  ChunkSequence(bundle::ChunkProvider& chunks, const bundle::Blob& blob, Findings& findings,
                base::ProgressSink& progress)
      : chunks_(chunks),
        blob_(blob),
        findings_(findings),
        progress_(progress),
        extents_(bundle::chunk_extents(blob)) {}

  [[nodiscard]] bool at_end() const { return next_ == extents_.size(); }
  [[nodiscard]] bool whole() const { return whole_; }
  [[nodiscard]] std::size_t last_index() const { return next_ - 1; }

  /// The next chunk, or nothing if it is wrong, which has been reported then.
  std::optional<base::Bytes> next() {
    const std::size_t index = next_++;
    auto bytes = chunks_.read_chunk(blob_, index);
    progress_.advance(extents_[index].length);
    if (!bytes) {
      whole_ = false;
      findings_.add(blob_path(blob_.digest), std::move(bytes).error().within(place(index)));
      return std::nullopt;
    }
    stored_.update(*bytes);
    return *std::move(bytes);
  }

  [[nodiscard]] std::string place(std::size_t index) const {
    const bundle::ChunkExtent extent = extents_[index];
    return "chunk " + std::to_string(index + 1) + " of " + std::to_string(extents_.size()) +
           " (bytes " + std::to_string(extent.offset) + " to " +
           std::to_string(extent.offset + extent.length - 1) + ")";
  }

  oci::Digest stored_digest() { return oci::Digest(stored_.finish()); }

 private:
  bundle::ChunkProvider& chunks_;
  const bundle::Blob& blob_;
  Findings& findings_;
  base::ProgressSink& progress_;
  std::vector<bundle::ChunkExtent> extents_;
  std::size_t next_ = 0;
  bool whole_ = true;
  base::Sha256 stored_;
};

/// The chunks as one stream; a wrong one ends it with an error that has been reported already.
class ChunkSource final : public oci::ByteSource {
 public:
  explicit ChunkSource(ChunkSequence& sequence) : sequence_(sequence) {}
  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    while (offset_ == chunk_.size()) {
      if (sequence_.at_end()) {
        return std::size_t{0};
      }
      auto next = sequence_.next();
      if (!next) {
        return Error(ErrorCode::kBlobAltered, "reported");
      }
      chunk_ = *std::move(next);
      offset_ = 0;
    }
    const std::size_t count = std::min(buffer.size(), chunk_.size() - offset_);
    std::copy_n(chunk_.begin() + static_cast<std::ptrdiff_t>(offset_), count, buffer.begin());
    offset_ += count;
    return count;
  }

 private:
  ChunkSequence& sequence_;
  base::Bytes chunk_;
  std::size_t offset_ = 0;
};

/// Hashes what a source yields. \error kBlobExpansion beyond `limit_bytes`
Result<std::uint64_t> hash_all(oci::ByteSource& source, base::Sha256& hash,
                               std::uint64_t limit_bytes) {
  base::Bytes buffer(std::size_t{128} * 1024);
  std::uint64_t total = 0;
  while (true) {
    OU_TRY(const std::size_t count, source.read(buffer));
    if (count == 0) {
      return total;
    }
    total += count;
    if (total > limit_bytes) {
      return Error(ErrorCode::kBlobExpansion, "decompresses to more than the " +
                                                  std::to_string(limit_bytes) +
                                                  " bytes that the manifest says");
    }
    hash.update(base::ByteView(buffer).first(count));
  }
}

/// Each chunk is a zstd frame of its own with a fixed share of the uncompressed bytes.
Result<std::uint64_t> hash_frames(ChunkSequence& sequence, const bundle::Blob& blob,
                                  base::Sha256& hash, Findings& findings) {
  std::uint64_t total = 0;
  bool whole = true;
  while (!sequence.at_end()) {
    auto chunk = sequence.next();
    if (!chunk) {
      continue;
    }
    const std::uint64_t start = std::uint64_t{sequence.last_index()} * blob.chunks.size_bytes;
    const std::uint64_t expected =
        std::min<std::uint64_t>(blob.chunks.size_bytes, blob.uncompressed_size_bytes - start);
    const auto decoder =
        oci::open_decoder(std::make_unique<MemorySource>(*std::move(chunk)), oci::Encoding::kZstd);
    auto count = hash_all(*decoder, hash, expected);
    if (count && *count != expected) {
      count = Error(ErrorCode::kBlobExpansion, "decompresses to " + std::to_string(*count) +
                                                   " bytes instead of " + std::to_string(expected));
    }
    if (!count) {
      whole = false;
      findings.add(blob_path(blob.digest),
                   std::move(count).error().within(sequence.place(sequence.last_index())));
      continue;
    }
    total += *count;
  }
  if (!whole) {
    return Error(ErrorCode::kBlobAltered, "reported");
  }
  return total;
}

Result<std::uint64_t> hash_stream(ChunkSequence& sequence, const bundle::Blob& blob,
                                  base::Sha256& hash, Findings& findings) {
  const auto decoder = oci::open_decoder(std::make_unique<ChunkSource>(sequence), blob.encoding);
  auto total = hash_all(*decoder, hash, blob.uncompressed_size_bytes);
  if (!total && sequence.whole()) {
    findings.add(blob_path(blob.digest), total.error());
  }
  while (!sequence.at_end()) {  // what follows a wrong chunk is looked at too
    sequence.next();
  }
  return total;
}

}  // namespace

std::string blob_path(const oci::Digest& digest) {
  return "blobs/sha256/" + digest.hex();
}

void check_blob(bundle::ChunkProvider& chunks, const bundle::Blob& blob, Findings& findings,
                base::ProgressSink& progress) {
  ChunkSequence sequence(chunks, blob, findings, progress);
  base::Sha256 hash;
  const auto total = blob.chunks.kind == bundle::ChunkTable::Kind::kFrames
                         ? hash_frames(sequence, blob, hash, findings)
                         : hash_stream(sequence, blob, hash, findings);
  if (!sequence.whole()) {
    return;
  }
  const std::string where = blob_path(blob.digest);
  if (sequence.stored_digest() != blob.digest) {
    findings.add(where, Error(ErrorCode::kBlobAltered,
                              "its bytes fit the chunk table, but not the digest it is named by"));
  }
  if (!total) {
    return;
  }
  if (*total != blob.uncompressed_size_bytes) {
    findings.add(where, Error(ErrorCode::kBlobExpansion,
                              "decompresses to " + std::to_string(*total) + " bytes instead of " +
                                  std::to_string(blob.uncompressed_size_bytes)));
  } else if (oci::Digest(hash.finish()) != blob.uncompressed_digest) {
    findings.add(where, Error(ErrorCode::kBlobAltered,
                              "decompresses to other bytes than the manifest says"));
  }
}

}  // namespace tool
