// Changing file systems; e2fsck and debugfs judge what came out.
#include <catch2/catch.hpp>

#include "image/ext_file_system.hpp"
#include "support/byte_sources.hpp"
#include "unit/image/ext_images.hpp"

using base::ErrorCode;
using image::ExtFileSystem;
using support::all_bytes;
using support::GuardedImage;
using support::opened;
using support::pattern;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr auto kChange = ExtFileSystem::Access::kChange;

base::Status write(ExtFileSystem& files, const std::string& path, const std::string& content) {
  support::TextSource source(content);
  return files.write_file(path, source, content.size(), 0640);
}

std::string content_of(const ExtFileSystem& files, const std::string& path) {
  const auto content = files.read_file(path, 64 * kMiB);
  INFO((content ? "" : content.error().message()));
  REQUIRE(content);
  return *content;
}

/// Everything that the updater does to a file system.
void change_a_lot(ExtFileSystem& files) {
  REQUIRE(files.make_directory("apps", 0710));
  REQUIRE(files.make_directory("apps", 0700));
  REQUIRE(files.make_directory("apps/deep", 0755));
  REQUIRE(write(files, "apps/large", pattern(5 * kMiB + 1)));
  REQUIRE(write(files, "apps/large", pattern(3 * kMiB)));
  REQUIRE(write(files, "apps/empty", ""));
  REQUIRE(write(files, "present/one", "replaced"));
  REQUIRE(files.remove_file("present/two"));
  REQUIRE(files.remove_file("present/two"));
  REQUIRE(files.remove_file("nowhere/two"));
  for (int i = 0; i < 600; ++i) {
    REQUIRE(write(files,
                  "apps/deep/a file with a long name, as there are many " + std::to_string(i),
                  std::string(static_cast<std::size_t>(i) * 7, 'x')));
  }
  for (int i = 0; i < 600; i += 3) {
    REQUIRE(files.remove_file("apps/deep/a file with a long name, as there are many " +
                              std::to_string(i)));
  }
}

}  // namespace

TEST_CASE("ext file system: e2fsck finds nothing after every kind of change, in every shape") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/present/one", "first"));
  static_cast<void>(scratch.write("tree/present/two", pattern(kMiB)));
  for (int i = 0; i < 500; ++i) {
    static_cast<void>(scratch.write("tree/many/" + std::string(60, 'n') + std::to_string(i), "x"));
  }
  for (std::size_t shape = 0; shape < support::kExtShapes.size(); ++shape) {
    CAPTURE(shape);
    const GuardedImage image(scratch / ("image" + std::to_string(shape)), 24 * kMiB,
                             support::kExtShapes[shape], scratch / "tree");
    {
      ExtFileSystem files = opened(image, kChange);
      change_a_lot(files);
      CHECK(content_of(files, "apps/large") == pattern(3 * kMiB));
      REQUIRE(files.close());
    }
    CHECK(image.faults() == "");
    CHECK(image.guards_intact());
    ExtFileSystem files = opened(image, kChange);
    CHECK(content_of(files, "apps/large") == pattern(3 * kMiB));
    CHECK(content_of(files, "present/one") == "replaced");
    CHECK(!files.find("present/two").value());
    CHECK(files.find("apps").value()->permissions == 0710);
    CHECK(files.find("apps/large").value()->permissions == 0640);
    CHECK(files.list(files.find("apps/deep").value().value(), 1000)->size() == 400);
    for (int i = 500; i < 900; ++i) {
      REQUIRE(write(files, "many/" + std::string(60, 'n') + std::to_string(i), "y"));
    }
    REQUIRE(files.close());
    CHECK(image.faults() == "");
    CHECK(opened(image).list(opened(image).find("many").value().value(), 2000)->size() == 900);
  }
}

TEST_CASE("ext file system: the same changes give the same bytes") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/present/one", "first"));
  static_cast<void>(scratch.write("tree/present/two", "second"));
  const GuardedImage image(scratch / "one", 24 * kMiB, {"-b", "4096"}, scratch / "tree");
  std::filesystem::copy_file(scratch / "one", scratch / "two");
  const GuardedImage copy(scratch / "two", 24 * kMiB);
  for (const GuardedImage* each : {&image, &copy}) {
    ExtFileSystem files = opened(*each, kChange);
    change_a_lot(files);
    REQUIRE(files.close());
    const time_t now = ::time(nullptr);
    while (::time(nullptr) == now) {  // the clock must not matter
      ::usleep(1000);
    }
  }
  CHECK((all_bytes(image.path()) == all_bytes(copy.path())));
}

TEST_CASE("ext file system: nothing changed leaves every byte as it was") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/one", "first"));
  const GuardedImage image(scratch / "image", 8 * kMiB, {}, scratch / "tree");
  const std::string before = all_bytes(image.path());
  {
    ExtFileSystem files = opened(image, kChange);
    CHECK(content_of(files, "one") == "first");
    REQUIRE(files.remove_file("two"));
    REQUIRE(files.close());
  }
  {
    ExtFileSystem files = opened(image);
    CHECK(write(files, "one", "x").error().code() == ErrorCode::kInternal);
    CHECK(files.remove_file("one").error().code() == ErrorCode::kInternal);
    REQUIRE(files.close());
  }
  CHECK((all_bytes(image.path()) == before));
}

TEST_CASE("ext file system: what does not fit or cannot be is refused and leaves it sound") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/directory/one", "first"));
  static_cast<void>(scratch.write("tree/large", pattern(2 * kMiB)));
  const GuardedImage image(scratch / "image", 8 * kMiB, {"-b", "1024", "-O", "^has_journal"},
                           scratch / "tree");
  ExtFileSystem files = opened(image, kChange);
  const std::uint64_t free = files.free().bytes;
  CHECK(write(files, "new", pattern(16 * kMiB)).error().code() == ErrorCode::kNoSpace);
  CHECK(write(files, "nowhere/new", "x").error().code() == ErrorCode::kNotFound);
  CHECK(write(files, "large/new", "x").error().code() == ErrorCode::kNotFound);
  CHECK(write(files, "directory", "x").error().code() == ErrorCode::kAlreadyExists);
  CHECK(write(files, "directory/..", "x").error().code() == ErrorCode::kUsage);
  CHECK(write(files, "", "x").error().code() == ErrorCode::kUsage);
  CHECK(write(files, std::string(256, 'n'), "x").error().code() == ErrorCode::kUsage);
  CHECK(files.remove_file("directory").error().code() == ErrorCode::kAlreadyExists);
  CHECK(files.make_directory("large", 0755).error().code() == ErrorCode::kAlreadyExists);
  CHECK(files.free().bytes == free);
  // Blocks of the map of blocks are not in the size: full only when it is written.
  CHECK(write(files, "exact", std::string(free, 'x')).has_value());
  CHECK(write(files, "more", "x").error().code() == ErrorCode::kNoSpace);
  const auto removed = files.remove_file("exact");
  INFO((removed ? "" : removed.error().message()));
  REQUIRE(removed);
  CHECK(files.free().bytes == free);
  // The old file's room counts.
  CHECK(write(files, "large", std::string(free + kMiB, 'y')).has_value());
  support::TextSource cut("cut");
  CHECK(files.write_file("cut", cut, 10, 0644).error().code() == ErrorCode::kIo);
  support::TextSource more("more");
  CHECK(files.write_file("directory/one", more, 2, 0644).error().code() == ErrorCode::kIo);
  CHECK(!files.find("cut").value());
  REQUIRE(files.close());
  CHECK(image.faults() == "");
}

TEST_CASE("ext file system: changes are dropped without close()") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/one", "first"));
  const GuardedImage image(scratch / "image", 8 * kMiB, {}, scratch / "tree");
  {
    ExtFileSystem files = opened(image, kChange);
    REQUIRE(write(files, "two", "second"));
  }
  CHECK(image.faults() == "");
  CHECK(!opened(image).find("two").value());
}

TEST_CASE("ext file system: a hard link keeps its content when another name is replaced") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/one", "first"));
  std::filesystem::create_hard_link(scratch / "tree/one", scratch / "tree/two");
  const GuardedImage image(scratch / "image", 8 * kMiB, {}, scratch / "tree");
  ExtFileSystem files = opened(image, kChange);
  CHECK(files.find("one").value()->links == 2);
  REQUIRE(write(files, "one", "new"));
  CHECK(content_of(files, "two") == "first");
  CHECK(files.find("two").value()->links == 1);
  REQUIRE(files.close());
  CHECK(image.faults() == "");
}

TEST_CASE("ext file system: the time of changes is SOURCE_DATE_EPOCH when it is set") {
  const support::Scratch scratch;
  std::filesystem::create_directory(scratch / "tree");
  const GuardedImage image(scratch / "image", 8 * kMiB, {}, scratch / "tree");
  REQUIRE(::setenv("SOURCE_DATE_EPOCH", "1234567890", 1) == 0);
  {
    ExtFileSystem files = opened(image, kChange);
    REQUIRE(write(files, "one", "1"));
    REQUIRE(files.close());
  }
  REQUIRE(::setenv("SOURCE_DATE_EPOCH", "yesterday", 1) == 0);
  CHECK(ExtFileSystem::open(image.range(), kChange).error().code() == ErrorCode::kConfigInvalid);
  REQUIRE(::unsetenv("SOURCE_DATE_EPOCH") == 0);
  CHECK(opened(image).find("one").value()->mtime_seconds == 1234567890);
  const std::string facts = support::must_run({"debugfs", "-R", "stat one", image.name()});
  CHECK(facts.find("499602d2") != std::string::npos);  // ctime, atime, crtime: all of them
  CHECK(facts.find("Generation: 0") != std::string::npos);
}
