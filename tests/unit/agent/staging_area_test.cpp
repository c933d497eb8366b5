// A copy on the device's disk is complete and verified, or it is no bundle.
#include "intake/staging_area.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "intake/medium_chunks.hpp"
#include "support/bundle_builder.hpp"
#include "support/lost_power.hpp"
#include "support/scratch.hpp"

namespace {

namespace fs = std::filesystem;
using agent::intake::open_bundle;
using agent::intake::StagingArea;
using agent::intake::VerifiedBundle;
using base::ErrorCode;
using support::Scratch;

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// All files below a directory: path to content.
std::map<std::string, std::string> tree(const fs::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) {
      files[fs::relative(entry.path(), root)] = content(entry.path());
    }
  }
  return files;
}

/// A bundle of two images whose larger blob has several chunks.
struct Medium {
  explicit Medium(std::uint64_t sequence = 1)
      : key(*bundle::SecretKey::generate()),
        built(
            support::build_bundle(scratch / "a.bundle",
                                  {{support::tar_of("bin/app", support::random_bytes(300'000, 1))},
                                   {support::tar_of("bin/app", support::random_bytes(1000, 2))}},
                                  sequence)) {
    support::write_manifest(built, {&key});
  }
  [[nodiscard]] base::UntrustedDirectory directory() const {
    return *base::UntrustedDirectory::open(built.directory);
  }
  [[nodiscard]] VerifiedBundle open() const {
    return *open_bundle(directory(), "a.bundle", support::trust_in({&key}));
  }
  [[nodiscard]] const bundle::Blob& largest() const {
    const auto& blobs = built.manifest.blobs;
    return std::max_element(blobs.begin(), blobs.end(),
                            [](const auto& a, const auto& b) {
                              return a.second.size_bytes < b.second.size_bytes;
                            })
        ->second;
  }
  [[nodiscard]] fs::path file_of(const bundle::Blob& blob) const {
    return built.directory / "blobs/sha256" / blob.digest.hex();
  }

  Scratch scratch;
  bundle::SecretKey key;
  support::BuiltBundle built;
};

/// Chunks of a directory; counts them, and can be told what to do at one.
class CountedChunks final : public bundle::ChunkProvider {
 public:
  explicit CountedChunks(base::UntrustedDirectory directory) : chunks_(std::move(directory)) {}
  base::Result<base::Bytes> read_chunk(const bundle::Blob& blob, std::size_t index) override {
    ++count;
    if (count == fail_at) {
      return base::Error(ErrorCode::kMediumTimeout, "the medium did not come back");
    }
    return chunks_.read_chunk(blob, index);
  }
  int count = 0;
  int fail_at = 0;

 private:
  bundle::DirectoryChunks chunks_;
};

struct Disk {
  [[nodiscard]] StagingArea area() const { return StagingArea(scratch / "staged"); }
  [[nodiscard]] base::Status copy(const VerifiedBundle& from, bundle::ChunkProvider& chunks) const {
    base::NoProgress progress;
    return area().copy(from, chunks, progress, {});
  }
  Scratch scratch;
};

/// Whether what is staged verifies like any bundle, and every chunk of it.
void check_copy(const Medium& medium, const Disk& disk) {
  const auto copy = disk.area().complete();
  REQUIRE(copy);
  CHECK(copy->filename().string() == medium.open().digest().hex().substr(0, 32) + ".bundle");
  CHECK(tree(*copy) == tree(medium.built.directory));
  CHECK(open_bundle(*base::UntrustedDirectory::open(*copy), "copy",
                    support::trust_in({&medium.key})));
}

}  // namespace

TEST_CASE("staging: a copy has every file of the bundle and verifies like it") {
  const Medium medium;
  const Disk disk;
  CHECK_FALSE(disk.area().any());
  const auto bundle = medium.open();
  CountedChunks chunks(medium.directory());
  REQUIRE(disk.copy(bundle, chunks));
  check_copy(medium, disk);

  SECTION("a second time nothing is read from the medium and nothing is written") {
    const int before = chunks.count;
    REQUIRE(disk.copy(bundle, chunks));
    CHECK(chunks.count == before);
    check_copy(medium, disk);
  }
  SECTION("an altered copy is noticed, and only what is bad is read again") {
    const auto blob = *disk.area().complete() / "blobs/sha256" / medium.largest().digest.hex();
    {
      std::fstream file(blob, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(-1, std::ios::end);
      file.put(static_cast<char>(content(blob).back() ^ 1));
    }
    const int before = chunks.count;
    REQUIRE(disk.copy(bundle, chunks));
    CHECK(chunks.count == before + 1);
    check_copy(medium, disk);
  }
  SECTION("an altered manifest of the copy is replaced") {
    std::ofstream(*disk.area().complete() / "manifest.json") << "{}";
    REQUIRE(disk.copy(bundle, chunks));
    check_copy(medium, disk);
  }
  SECTION("it can be removed") {
    REQUIRE(disk.area().remove(*disk.area().complete()));
    CHECK_FALSE(disk.area().any());
  }
}

TEST_CASE("staging: signatures of keys that are not trusted are not copied") {
  const Medium medium;
  const auto other = *bundle::SecretKey::generate();
  support::write_manifest(medium.built, {&other, &medium.key});
  const Disk disk;
  CountedChunks chunks(medium.directory());
  REQUIRE(disk.copy(medium.open(), chunks));
  const auto copy = *disk.area().complete();
  CHECK(content(copy / "manifest.json.minisig") ==
        content(medium.built.directory / "manifest.json.1.minisig"));
  CHECK_FALSE(fs::exists(copy / "manifest.json.1.minisig"));
}

TEST_CASE("staging: wherever the medium goes away, the next one goes on with the next chunk") {
  const Medium medium;
  const auto bundle = medium.open();
  int all = 0;
  for (int fail_at = 1;; ++fail_at) {
    CAPTURE(fail_at);
    const Disk disk;
    CountedChunks chunks(medium.directory());
    chunks.fail_at = fail_at;
    const auto first = disk.copy(bundle, chunks);
    if (first) {
      all = chunks.count;
      break;
    }
    CHECK(first.error().code() == ErrorCode::kMediumTimeout);
    CHECK_FALSE(disk.area().complete());
    CHECK(disk.area().any());
    CountedChunks again(medium.directory());
    REQUIRE(disk.copy(bundle, again));
    CHECK(again.count + fail_at - 1 == 10);
    check_copy(medium, disk);
  }
  CHECK(all == 10);
}

TEST_CASE("staging: a medium that goes while it is copied is waited for") {
  const Medium medium;
  const Disk disk;
  const auto bundle = medium.open();
  agent::intake::MediumChunks* waiting = nullptr;
  int waits = 0;
  agent::intake::MediumChunks chunks(medium.directory(), std::chrono::seconds(60), [&](bool away) {
    waits += away ? 1 : 0;
    if (away) {
      waiting->attach(medium.directory());
    }
  });
  waiting = &chunks;
  chunks.detach();
  REQUIRE(disk.copy(bundle, chunks));
  CHECK(waits == 1);
  check_copy(medium, disk);
}

TEST_CASE("staging: an altered chunk of the medium never reaches the disk") {
  const Medium medium;
  const Disk disk;
  const auto bundle = medium.open();
  const auto file = medium.file_of(medium.largest());
  auto bytes = content(file);
  const std::string marker = "these bytes were not signed";
  bytes.replace(bytes.size() / 2, marker.size(), marker);
  std::ofstream(file, std::ios::binary) << bytes;
  CountedChunks chunks(medium.directory());
  const auto copied = disk.copy(bundle, chunks);
  REQUIRE_FALSE(copied);
  CHECK(copied.error().code() == ErrorCode::kBlobAltered);
  CHECK_FALSE(disk.area().complete());
  for (const auto& [path, text] : tree(disk.scratch.path())) {
    CAPTURE(path);
    CHECK(text.find(marker) == std::string::npos);
  }
}

TEST_CASE("staging: what changes or goes after it was verified is copied as it was verified") {
  const Medium medium;
  const Disk disk;
  const auto bundle = medium.open();
  const auto before = tree(medium.built.directory);
  SECTION("changed") {
    for (const auto* name : {"manifest.json", "index.json", "oci-layout"}) {
      std::ofstream(medium.built.directory / name) << "{}";
    }
  }
  SECTION("gone: the medium came back at another place, so this one is dead") {
    for (const auto* name : {"manifest.json", "index.json", "oci-layout"}) {
      fs::remove(medium.built.directory / name);
    }
  }
  CountedChunks chunks(medium.directory());
  REQUIRE(disk.copy(bundle, chunks));
  CHECK(tree(*disk.area().complete()) == before);
}

TEST_CASE("staging: a copy that is stopped is cancelled, and kept") {
  const Medium medium;
  const Disk disk;
  std::stop_source stop;
  stop.request_stop();
  base::NoProgress progress;
  CountedChunks chunks(medium.directory());
  const auto copied = disk.area().copy(medium.open(), chunks, progress, stop.get_token());
  REQUIRE_FALSE(copied);
  CHECK(copied.error().code() == ErrorCode::kCancelled);
}

TEST_CASE("staging: a power cut at any write leaves a part that goes on, or the whole copy") {
  const auto unsynced = GENERATE(support::Unsynced::kKept, support::Unsynced::kLost);
  const Medium medium;
  const auto bundle = medium.open();
  int parts = 0;
  for (int call = 1;; ++call) {
    CAPTURE(call, unsynced);
    const Disk disk;
    const bool cut = support::lose_power(call, unsynced, [&] {
      CountedChunks chunks(medium.directory());
      (void)disk.copy(bundle, chunks);
    });
    if (disk.area().complete()) {
      check_copy(medium, disk);
    }
    if (!cut) {
      break;
    }
    parts += disk.area().complete() ? 0 : 1;
    CountedChunks chunks(medium.directory());
    REQUIRE(disk.copy(bundle, chunks));
    check_copy(medium, disk);
  }
  CHECK(parts > 40);
}

TEST_CASE("staging: whichever write fails, the copy is not complete and goes on later") {
  const Medium medium;
  const auto bundle = medium.open();
  int failures = 0;
  for (int call = 1;; ++call) {
    CAPTURE(call);
    const Disk disk;
    CountedChunks chunks(medium.directory());
    bool struck = false;
    auto copied = base::ok();
    {
      const support::FailingCall failing(call, ENOSPC);
      copied = disk.copy(bundle, chunks);
      struck = failing.struck();
    }
    if (!struck) {
      REQUIRE(copied);
      break;
    }
    if (!copied) {
      ++failures;
      CHECK(copied.error().code() == ErrorCode::kStaging);
    }
    REQUIRE(disk.copy(bundle, chunks));
    check_copy(medium, disk);
  }
  CHECK(failures > 30);
}

TEST_CASE("staging: another bundle's copy is counted and can be removed alone") {
  const Medium first;
  const Medium second(2);
  const Disk disk;
  CountedChunks chunks(first.directory());
  REQUIRE(disk.copy(first.open(), chunks));
  const auto bundle = second.open();
  CHECK(disk.area().others(first.open().digest()).bytes == 0);
  CHECK(disk.area().others(bundle.digest()).bytes > 300'000);
  const auto before = disk.area().missing(bundle);
  CHECK(before.bytes > 300'000);
  CHECK(before.inodes > 10);
  REQUIRE(disk.area().remove_others(bundle.digest()));
  CHECK_FALSE(disk.area().any());
  CountedChunks more(second.directory());
  REQUIRE(disk.copy(bundle, more));
  CHECK(disk.area().missing(bundle).bytes + 300'000 < before.bytes);
  REQUIRE(disk.area().remove_others(bundle.digest()));
  check_copy(second, disk);
}
