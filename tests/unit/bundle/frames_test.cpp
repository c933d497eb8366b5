// Frames that are what the manifest says they hash to, and are made to mislead all the same.
#include <zstd.h>

#include <catch2/catch.hpp>

#include "bundle/chunks.hpp"
#include "bundle/limits.hpp"

namespace {

using base::Bytes;
using base::ErrorCode;

constexpr std::size_t kChunk = bundle::kMinChunkBytes;

/// Chunks from memory; verification is not what these tests are about.
class MemoryChunks final : public bundle::ChunkProvider {
 public:
  explicit MemoryChunks(std::vector<Bytes> chunks) : chunks_(std::move(chunks)) {}
  base::Result<Bytes> read_chunk(const bundle::Blob& /*blob*/, std::size_t index) override {
    return chunks_.at(index);
  }

 private:
  std::vector<Bytes> chunks_;
};

Bytes frame(const Bytes& content) {
  Bytes out(ZSTD_compressBound(content.size()));
  out.resize(ZSTD_compress(out.data(), out.size(), content.data(), content.size(), 3));
  return out;
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

bundle::Blob blob_of(const std::vector<Bytes>& chunks, std::uint64_t uncompressed_bytes) {
  bundle::Blob blob{oci::Digest::of({}), 0, oci::Encoding::kZstd, oci::Digest::of({}),
                    uncompressed_bytes,  {}};
  blob.chunks.kind = bundle::ChunkTable::Kind::kFrames;
  blob.chunks.size_bytes = kChunk;
  for (const auto& chunk : chunks) {
    blob.size_bytes += chunk.size();
    blob.chunks.lengths.push_back(static_cast<std::uint32_t>(chunk.size()));
    blob.chunks.hashes.push_back(base::sha256(chunk));
  }
  return blob;
}

/// Reads all. \return what came before the end or the error, and the error
std::pair<Bytes, std::optional<ErrorCode>> drain(const std::vector<Bytes>& chunks,
                                                 std::uint64_t uncompressed_bytes) {
  const auto blob = blob_of(chunks, uncompressed_bytes);
  MemoryChunks provider(chunks);
  const auto source = bundle::open_uncompressed(provider, blob);
  REQUIRE(source);
  Bytes all;
  Bytes buffer(10'000);
  for (;;) {
    const auto got = (*source)->read(buffer);
    if (!got) {
      return {all, got.error().code()};
    }
    if (*got == 0) {
      return {all, std::nullopt};
    }
    all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<long>(*got));
  }
}

const Bytes kFull(kChunk, 'a');
const Bytes kTail(1000, 'b');
const Bytes kSkippable{0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};

}  // namespace

TEST_CASE("frames: a full one and a last one give their content") {
  const auto [content, error] = drain({frame(kFull), frame(kTail)}, kChunk + 1000);
  CHECK_FALSE(error);
  CHECK(content == kFull + kTail);
}

TEST_CASE("frames: a bomb is refused before any of its bytes come out") {
  const Bytes zeros(std::size_t{64} * 1024 * 1024);
  const auto [content, error] = drain({frame(zeros)}, kChunk);
  CHECK(error == ErrorCode::kBlobExpansion);
  CHECK(content.empty());
}

TEST_CASE("frames: a chunk is one frame, whole, with nothing before or after it") {
  const Bytes first(kFull.begin(), kFull.begin() + 100);
  const Bytes rest(kFull.begin() + 100, kFull.end());
  auto cut = frame(kFull);
  cut.pop_back();
  for (const auto& chunk :
       {frame(first) + frame(rest), frame(kFull) + kSkippable, kSkippable + frame(kFull),
        frame(kFull) + Bytes{0}, kSkippable, cut, frame(kTail), Bytes(100, 'x')}) {
    const auto [content, error] = drain({chunk}, kChunk);
    CHECK(error == ErrorCode::kBlobExpansion);
    CHECK(content.empty());
  }
}

TEST_CASE("frames: content may not move from one chunk to the next") {
  const Bytes shorter(kFull.begin(), kFull.end() - 1);
  const auto [content, error] = drain({frame(shorter), frame(kTail + Bytes{'a'})}, kChunk + 1000);
  CHECK(error == ErrorCode::kBlobExpansion);
  CHECK(content.empty());
}

TEST_CASE("frames: a flipped bit that a hash let through never gives more than was announced") {
  const auto good = frame(kFull);
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      auto bad = good;
      bad[at] = static_cast<std::uint8_t>(bad[at] ^ (1U << bit));
      const auto [content, error] = drain({bad}, kChunk);
      CHECK((error == ErrorCode::kBlobExpansion || content.size() == kChunk));
    }
  }
}

TEST_CASE("open_uncompressed: an error of the provider reaches the reader, and stays") {
  class Failing final : public bundle::ChunkProvider {
   public:
    base::Result<Bytes> read_chunk(const bundle::Blob& /*blob*/, std::size_t index) override {
      return index == 0 ? base::Result<Bytes>(frame(kFull))
                        : base::Error(ErrorCode::kBlobAltered, "chunk");
    }
  } provider;
  const auto blob = blob_of({frame(kFull), frame(kFull)}, 2 * kChunk);
  const auto source = bundle::open_uncompressed(provider, blob);
  REQUIRE(source);
  Bytes buffer(kChunk);
  CHECK((*source)->read(buffer) == kChunk);
  const auto failed = (*source)->read(buffer);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == ErrorCode::kBlobAltered);
  CHECK_FALSE((*source)->read(buffer));
}
