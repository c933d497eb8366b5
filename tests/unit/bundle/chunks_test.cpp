#include "bundle/chunks.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <set>

#include "oci/decoder.hpp"
#include "support/bundle_builder.hpp"
#include "support/scratch.hpp"

namespace {

using base::Bytes;
using base::ErrorCode;
using bundle::ChunkTable;

/// Half noise, half text: compresses, but not to nothing.
Bytes content(std::size_t size) {
  auto bytes = support::random_bytes(size, 7);
  for (std::size_t i = 0; i < size; ++i) {
    if (i / 1000 % 2 == 0) {
      bytes[i] = static_cast<std::uint8_t>('a' + i % 7);
    }
  }
  return bytes;
}

struct Packed {
  support::Scratch scratch;
  bundle::PackedLayer layer;
  bundle::DirectoryChunks chunks;
};

bundle::PackedLayer pack(const std::filesystem::path& root, const Bytes& stored, const Bytes& tar,
                         const bundle::PackOptions& options) {
  const auto blobs = root / "blobs/sha256";
  std::filesystem::create_directories(blobs);
  base::NoProgress progress;
  auto packed = bundle::pack_layer(support::memory_source(stored), oci::Digest::of(tar), blobs,
                                   options, progress);
  INFO((packed ? "" : packed.error().message()));
  REQUIRE(packed);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(blobs)) {
    CHECK(entry.path().filename() == packed->blob.digest.hex());
    files += 1;
  }
  CHECK(files == 1);
  return *packed;
}

bundle::DirectoryChunks open(const std::filesystem::path& root) {
  auto directory = base::UntrustedDirectory::open(root);
  REQUIRE(directory);
  return bundle::DirectoryChunks(*std::move(directory));
}

Bytes read_from(bundle::ChunkProvider& chunks, const bundle::Blob& blob, std::uint64_t offset) {
  auto source = bundle::open_uncompressed(chunks, blob, offset);
  REQUIRE(source);
  return support::read_all(**source);
}

constexpr bundle::PackOptions kSmallChunks{.zstd_level = 3, .chunk_bytes = bundle::kMinChunkBytes};

}  // namespace

TEST_CASE("pack_layer: a plain tar becomes frames that any zstd reader takes") {
  const support::Scratch scratch;
  const auto tar = support::tar_of("app", content(500'000));
  const auto packed = pack(scratch.path(), tar, tar, kSmallChunks);
  CHECK(packed.blob.encoding == oci::Encoding::kZstd);
  CHECK(packed.blob.chunks.kind == ChunkTable::Kind::kFrames);
  CHECK(packed.blob.uncompressed_size_bytes == tar.size());
  CHECK(packed.usage.inodes >= 1);
  CHECK(packed.usage.bytes >= 500'000);

  std::ifstream file(scratch / ("blobs/sha256/" + packed.blob.digest.hex()), std::ios::binary);
  const Bytes stored((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  CHECK(oci::Digest::of(stored) == packed.blob.digest);
  auto plain = oci::open_decoder(support::memory_source(stored));
  REQUIRE(plain);
  CHECK(support::read_all(**plain) == tar);
}

TEST_CASE("pack_layer: the number of threads never changes a byte") {
  const auto tar = support::tar_of("app", content(1'500'000));
  std::set<oci::Digest> digests;
  for (const unsigned threads : {1U, 2U, 7U}) {
    const support::Scratch scratch;
    auto options = kSmallChunks;
    options.threads = threads;
    digests.insert(pack(scratch.path(), tar, tar, options).blob.digest);
  }
  CHECK(digests.size() == 1);
}

TEST_CASE("pack_layer: a compressed layer is kept as it came if that is smaller") {
  const support::Scratch scratch;
  const auto tar = support::tar_of("app", content(300'000));
  const auto came =
      support::zstd(tar);  // one frame at the highest level beats small frames at level 3
  const auto packed = pack(scratch.path(), came, tar, kSmallChunks);
  CHECK(packed.blob.chunks.kind == ChunkTable::Kind::kFixed);
  CHECK(packed.blob.digest == oci::Digest::of(came));

  const support::Scratch other;
  const auto repacked = pack(other.path(), support::gzip(tar), tar, kSmallChunks);
  CHECK(repacked.blob.uncompressed_digest == oci::Digest::of(tar));
}

TEST_CASE("pack_layer: a layer that is not what the image names is refused and leaves nothing") {
  const support::Scratch scratch;
  base::NoProgress progress;
  const auto tar = support::tar_of("app", content(1000));
  const auto packed = bundle::pack_layer(support::memory_source(tar), oci::Digest::of({}),
                                         scratch.path(), {}, progress);
  REQUIRE_FALSE(packed);
  CHECK(packed.error().code() == ErrorCode::kImageInvalid);
  CHECK(std::filesystem::is_empty(scratch.path()));
}

TEST_CASE("open_uncompressed: any offset gives the rest, for every encoding") {
  const auto tar = support::tar_of("app", content(400'000));
  for (const auto& stored : {tar, support::gzip(tar), support::zstd(tar)}) {
    const support::Scratch scratch;
    const auto packed = pack(scratch.path(), stored, tar, kSmallChunks);
    auto chunks = open(scratch.path());
    for (const std::size_t offset :
         {std::size_t{0}, std::size_t{1}, std::size_t{65'535}, std::size_t{65'536},
          std::size_t{65'537}, std::size_t{200'000}, tar.size() - 1, tar.size()}) {
      INFO(offset);
      const Bytes expected(tar.begin() + static_cast<long>(offset), tar.end());
      CHECK(read_from(chunks, packed.blob, offset) == expected);
    }
    CHECK_FALSE(bundle::open_uncompressed(chunks, packed.blob, tar.size() + 1));
  }
}

TEST_CASE("read_chunk: a flipped bit anywhere in a blob is noticed") {
  const support::Scratch scratch;
  const auto tar = support::tar_of("app", content(70'000));
  const auto packed = pack(scratch.path(), tar, tar, kSmallChunks);
  const auto path = scratch / ("blobs/sha256/" + packed.blob.digest.hex());
  const auto extents = bundle::chunk_extents(packed.blob);
  for (std::uint64_t at = 0; at < packed.blob.size_bytes; at += 97) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<long>(at));
    const char original = static_cast<char>(file.get());
    file.seekp(static_cast<long>(at));
    file.put(static_cast<char>(original ^ 0x10));
    file.flush();
    auto chunks = open(scratch.path());
    std::size_t altered = 0;
    for (std::size_t i = 0; i < extents.size(); ++i) {
      const auto chunk = chunks.read_chunk(packed.blob, i);
      const bool holds = at >= extents[i].offset && at < extents[i].offset + extents[i].length;
      REQUIRE(chunk.has_value() != holds);
      altered += !chunk && chunk.error().code() == ErrorCode::kBlobAltered ? 1U : 0U;
    }
    REQUIRE(altered == 1);
    file.seekp(static_cast<long>(at));
    file.put(original);
  }
}

TEST_CASE("read_chunk: missing, short, long and linked blobs each have their error") {
  const support::Scratch scratch;
  const auto tar = support::tar_of("app", content(70'000));
  const auto packed = pack(scratch.path(), tar, tar, kSmallChunks);
  const auto path = scratch / ("blobs/sha256/" + packed.blob.digest.hex());
  const auto code = [&] {
    auto chunks = open(scratch.path());
    const auto chunk = chunks.read_chunk(packed.blob, 0);
    REQUIRE_FALSE(chunk);
    return chunk.error().code();
  };
  std::filesystem::resize_file(path, packed.blob.size_bytes - 1);
  CHECK(code() == ErrorCode::kBlobSize);
  std::filesystem::resize_file(path, packed.blob.size_bytes + 1);
  CHECK(code() == ErrorCode::kBlobSize);
  std::filesystem::rename(path, scratch / "elsewhere");
  CHECK(code() == ErrorCode::kBlobMissing);
  std::filesystem::create_symlink(scratch / "elsewhere", path);
  CHECK(code() == ErrorCode::kMediumUnsafeEntry);
}

TEST_CASE("read_chunk: a file that shrinks after it was opened is an error, not a crash") {
  const support::Scratch scratch;
  const auto tar = support::tar_of("app", support::random_bytes(200'000));
  const auto packed = pack(scratch.path(), tar, tar, kSmallChunks);
  auto chunks = open(scratch.path());
  REQUIRE(chunks.read_chunk(packed.blob, 0));
  std::filesystem::resize_file(scratch / ("blobs/sha256/" + packed.blob.digest.hex()), 100'000);
  const auto chunk = chunks.read_chunk(packed.blob, 2);
  REQUIRE_FALSE(chunk);
  CHECK(chunk.error().code() == ErrorCode::kBlobSize);
}

TEST_CASE("open_uncompressed: a blob that expands to another size is an error") {
  const auto tar = support::tar_of("app", content(200'000));
  for (const auto& stored : {tar, support::zstd(tar)}) {
    const support::Scratch scratch;
    const auto packed = pack(scratch.path(), stored, tar, kSmallChunks);
    for (const int change : {-1, +1}) {
      auto lying = packed.blob;
      lying.uncompressed_size_bytes += static_cast<std::uint64_t>(change);
      auto chunks = open(scratch.path());
      auto source = bundle::open_uncompressed(chunks, lying, 0);
      REQUIRE(source);
      Bytes buffer(50'000);
      std::optional<ErrorCode> code;
      for (;;) {
        const auto got = (*source)->read(buffer);
        if (!got) {
          code = got.error().code();
        }
        if (!got || *got == 0) {
          break;
        }
      }
      CHECK(code == ErrorCode::kBlobExpansion);
    }
  }
}

TEST_CASE("open_uncompressed: a consumer may leave at any time") {
  const support::Scratch scratch;
  const auto tar = support::tar_of("app", support::random_bytes(2'000'000));
  const auto packed = pack(scratch.path(), tar, tar, kSmallChunks);
  auto chunks = open(scratch.path());
  for (int i = 0; i < 20; ++i) {
    auto source = bundle::open_uncompressed(chunks, packed.blob, 0);
    REQUIRE(source);
    Bytes buffer(1000);
    CHECK((*source)->read(buffer));
  }
}
