#include "intake/medium_chunks.hpp"

#include <catch2/catch.hpp>
#include <future>

#include "support/scratch.hpp"
#include "support/stored_blob.hpp"

namespace {

using agent::intake::MediumChunks;
using base::ErrorCode;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr std::uint32_t kChunk = 1000;
constexpr auto kLong = 60s;  // longer than any test: a wait that ends, ends for another reason

/// What the owner was told, and a way to wait for it.
class Notices {
 public:
  std::function<void(bool)> sink() {
    return [this](bool waiting) {
      const std::lock_guard lock(mutex_);
      seen_.push_back(waiting);
      changed_.notify_all();
    };
  }
  bool wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 30s, [&] { return seen_.size() >= count; });
  }
  std::vector<bool> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> seen_;
};

struct Medium {
  Medium() { blob.write_to(scratch.path()); }
  [[nodiscard]] base::UntrustedDirectory open() const {
    return *base::UntrustedDirectory::open(scratch.path());
  }
  [[nodiscard]] std::string chunk(std::size_t index) const {
    return blob.stored.substr(index * kChunk, kChunk);
  }
  support::Scratch scratch;
  support::StoredBlob blob = support::plain_blob(support::noise(3500), kChunk);
};

std::string text(const base::Result<base::Bytes>& chunk) {
  REQUIRE(chunk);
  return std::string(base::as_text(*chunk));
}

auto read_later(MediumChunks& chunks, const Medium& medium, std::size_t index) {
  return std::async(std::launch::async, [&chunks, &medium, index] {
    return chunks.read_chunk(medium.blob.blob, index);
  });
}

bool has_open_file_below(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;  // the iterator's own descriptor
    const auto target = fs::read_symlink(entry.path(), gone).string();
    if (target.starts_with(directory.string())) {
      return true;
    }
  }
  return false;
}

}  // namespace

TEST_CASE("medium chunks: reads verified chunks and counts their bytes") {
  const Medium medium;
  Notices notices;
  MediumChunks chunks(medium.open(), kLong, notices.sink());
  CHECK(text(chunks.read_chunk(medium.blob.blob, 3)) == medium.chunk(3));
  CHECK(text(chunks.read_chunk(medium.blob.blob, 0)) == medium.chunk(0));
  CHECK(chunks.bytes_read() == 1500);
  CHECK_FALSE(chunks.waiting());
  CHECK(notices.seen().empty());
}

TEST_CASE("medium chunks: a reader waits for the medium and goes on with the chunk it asked for") {
  const Medium medium;
  const Medium same_bundle_elsewhere;
  Notices notices;
  MediumChunks chunks(medium.open(), kLong, notices.sink());
  CHECK(text(chunks.read_chunk(medium.blob.blob, 0)) == medium.chunk(0));
  chunks.detach();
  CHECK_FALSE(has_open_file_below(medium.scratch.path()));
  CHECK_FALSE(chunks.waiting());  // nobody has asked yet
  auto reader = read_later(chunks, medium, 1);
  REQUIRE(notices.wait_for(1));
  CHECK(chunks.waiting());
  chunks.attach(same_bundle_elsewhere.open());
  CHECK(text(reader.get()) == medium.chunk(1));
  CHECK_FALSE(chunks.waiting());
  CHECK(notices.seen() == std::vector<bool>{true, false});
}

TEST_CASE("medium chunks: a file that is missing or shorter means that the medium has gone") {
  const Medium medium;
  const Medium whole;
  const auto file = medium.scratch / medium.blob.file_name();
  SECTION("missing") {
    fs::remove(file);
  }
  SECTION("shorter before it was opened") {
    fs::resize_file(file, 10);
  }
  Notices notices;
  MediumChunks chunks(medium.open(), kLong, notices.sink());
  SECTION("shorter after it was opened") {
    CHECK(text(chunks.read_chunk(medium.blob.blob, 0)) == medium.chunk(0));
    fs::resize_file(file, 10);
  }
  auto reader = read_later(chunks, medium, 2);
  REQUIRE(notices.wait_for(1));
  CHECK_FALSE(has_open_file_below(medium.scratch.path()));
  chunks.attach(whole.open());
  CHECK(text(reader.get()) == medium.chunk(2));
}

TEST_CASE("medium chunks: a chunk that does not verify is an error at once, and nothing waits") {
  const Medium medium;
  std::string altered = medium.blob.stored;
  altered[1500] = static_cast<char>(altered[1500] ^ 1);
  medium.blob.write_to(medium.scratch.path(), altered);
  Notices notices;
  MediumChunks chunks(medium.open(), kLong, notices.sink());
  CHECK(text(chunks.read_chunk(medium.blob.blob, 0)) == medium.chunk(0));
  const auto bad = chunks.read_chunk(medium.blob.blob, 1);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code() == ErrorCode::kBlobAltered);
  CHECK(notices.seen().empty());
  // The rest of the medium is as good as before.
  CHECK(text(chunks.read_chunk(medium.blob.blob, 2)) == medium.chunk(2));
}

TEST_CASE("medium chunks: an entry that was swapped for a link is an error, not an absence") {
  const Medium medium;
  const auto file = medium.scratch / medium.blob.file_name();
  fs::rename(file, medium.scratch / "elsewhere");
  fs::create_symlink(medium.scratch / "elsewhere", file);
  Notices notices;
  MediumChunks chunks(medium.open(), kLong, notices.sink());
  const auto bad = chunks.read_chunk(medium.blob.blob, 0);
  REQUIRE_FALSE(bad);
  CHECK(bad.error().code() == ErrorCode::kMediumUnsafeEntry);
  CHECK(notices.seen().empty());
}

TEST_CASE("medium chunks: an absence beyond the limit is a timeout that names the last error") {
  const Medium medium;
  fs::remove(medium.scratch / medium.blob.file_name());
  MediumChunks chunks(medium.open(), 0s, {});
  const auto late = chunks.read_chunk(medium.blob.blob, 0);
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == ErrorCode::kMediumTimeout);
  CHECK(late.error().message().find("missing") != std::string::npos);
  CHECK_FALSE(chunks.waiting());
  // It may still come back for whoever asks again.
  medium.blob.write_to(medium.scratch.path());
  chunks.attach(medium.open());
  CHECK(text(chunks.read_chunk(medium.blob.blob, 0)) == medium.chunk(0));
}

TEST_CASE("medium chunks: the limit ends a wait that has begun") {
  const Medium medium;
  MediumChunks chunks(medium.open(), 1s, {});
  chunks.detach();
  const auto late = chunks.read_chunk(medium.blob.blob, 0);
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == ErrorCode::kMediumTimeout);
}

TEST_CASE("medium chunks: stop ends waiting and reading") {
  const Medium medium;
  Notices notices;
  MediumChunks chunks(medium.open(), kLong, notices.sink());
  chunks.detach();
  auto reader = read_later(chunks, medium, 0);
  REQUIRE(notices.wait_for(1));
  chunks.stop();
  const auto stopped = reader.get();
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code() == ErrorCode::kCancelled);
  chunks.attach(medium.open());
  const auto after = chunks.read_chunk(medium.blob.blob, 0);
  REQUIRE_FALSE(after);
  CHECK(after.error().code() == ErrorCode::kCancelled);
}

TEST_CASE("medium chunks: several readers wait together and the owner is told once") {
  const Medium medium;
  Notices notices;
  MediumChunks chunks(medium.open(), kLong, notices.sink());
  chunks.detach();
  std::vector<std::future<base::Result<base::Bytes>>> readers;
  for (std::size_t index = 0; index < 4; ++index) {
    readers.push_back(read_later(chunks, medium, index));
  }
  REQUIRE(notices.wait_for(1));
  chunks.attach(medium.open());
  for (std::size_t index = 0; index < 4; ++index) {
    CHECK(text(readers[index].get()) == medium.chunk(index));
  }
  CHECK(notices.seen() == std::vector<bool>{true, false});
}
