// Reading, from file systems that mke2fs has made.
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "image/ext_file_system.hpp"
#include "support/byte_sources.hpp"
#include "unit/image/ext_images.hpp"

using base::ErrorCode;
using image::ExtFileSystem;
using image::NodeKind;
using support::GuardedImage;
using support::opened;
using support::pattern;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

}  // namespace

TEST_CASE("ext file system: reads what mke2fs put in, in every shape") {
  const support::Scratch scratch;
  const std::string large = pattern(3 * kMiB + 77);
  static_cast<void>(scratch.write("tree/balena/large", large));
  static_cast<void>(scratch.write("tree/balena/empty", ""));
  static_cast<void>(scratch.write("tree/balena/small", "small"));
  std::filesystem::create_symlink("../balena/small", scratch / "tree/short");
  const std::string target(200, 't');
  std::filesystem::create_symlink(target, scratch / "tree/long");
  REQUIRE(::mkfifo((scratch / "tree/fifo").c_str(), 0600) == 0);
  std::filesystem::permissions(scratch / "tree/balena/small", std::filesystem::perms(04751));
  for (int i = 0; i < 1000; ++i) {
    static_cast<void>(
        scratch.write("tree/many/a rather long name of a file, number " + std::to_string(10000 + i),
                      std::to_string(i)));
  }
  for (std::size_t shape = 0; shape < support::kExtShapes.size(); ++shape) {
    CAPTURE(shape);
    const GuardedImage image(scratch / ("image" + std::to_string(shape)), 16 * kMiB,
                             support::kExtShapes[shape], scratch / "tree");
    const ExtFileSystem files = opened(image);
    CHECK(files.label() == "resin-data");
    CHECK(files.size_bytes() == 16 * kMiB);
    CHECK(files.free().bytes < files.total().bytes);
    CHECK(!files.unfinished_journal());

    const auto node = files.find("balena/large");
    REQUIRE((node && *node));
    CHECK((*node)->size_bytes == large.size());
    for (const std::size_t piece : {std::size_t{777}, std::size_t{1} << 20U}) {
      const auto source = files.open_file(**node);
      REQUIRE(source);
      CHECK(support::read_all(**source, piece).value() == large);
    }
    CHECK(files.read_file("balena/empty", 10).value() == "");
    CHECK(files.read_file("/balena//small", 10).value() == "small");
    CHECK(files.read_file("balena/small", 4).error().code() == ErrorCode::kLimitExceeded);
    CHECK(files.read_file("balena/none", 4).error().code() == ErrorCode::kNotFound);
    CHECK(files.read_file("balena", 4096).error().code() == ErrorCode::kDiskImage);
    CHECK(!files.find("balena/small/x").value());
    CHECK(!files.find("balena/../short").value());

    const auto small = files.find("balena/small");
    REQUIRE((small && *small));
    CHECK((*small)->permissions == 04751);
    CHECK((*small)->links == 1);
    struct stat facts {};
    REQUIRE(::stat((scratch / "tree/balena/small").c_str(), &facts) == 0);
    CHECK((*small)->mtime_seconds == facts.st_mtime);

    CHECK(files.read_link(files.find("short").value().value()).value() == "../balena/small");
    CHECK(files.read_link(files.find("long").value().value()).value() == target);
    CHECK(files.read_link(files.root()).error().code() == ErrorCode::kDiskImage);
    CHECK(files.find("fifo").value().value().kind == NodeKind::kFifo);
    CHECK(files.find("").value().value().kind == NodeKind::kDirectory);

    const auto many = files.list(files.find("many").value().value(), 1000);
    REQUIRE(many);
    REQUIRE(many->size() == 1000);
    CHECK(std::ranges::is_sorted(*many, {}, &image::ExtEntry::name));
    CHECK((*many)[7].name == "a rather long name of a file, number 10007");
    CHECK(files.list(files.find("many").value().value(), 999).error().code() ==
          ErrorCode::kLimitExceeded);
    CHECK(files.list(**node, 10).error().code() == ErrorCode::kDiskImage);
    CHECK(image.guards_intact());
  }
}

TEST_CASE("ext file system: holes and blocks that were never written are zeros") {
  const support::Scratch scratch;
  std::filesystem::create_directory(scratch / "tree");
  const GuardedImage image(scratch / "image", 16 * kMiB, {"-b", "4096"}, scratch / "tree");
  const auto sparse = scratch / "sparse";
  std::string expected(std::size_t{5} << 20U, '\0');
  {
    std::ofstream out(sparse, std::ios::binary);
    out.seekp(std::streamoff{1} << 20);
    out << "middle";
  }
  expected.replace(std::size_t{1} << 20U, 6, "middle");
  std::filesystem::resize_file(sparse, expected.size());
  image.change("write " + sparse.string() + " sparse");
  image.change("fallocate sparse 300 400");
  const ExtFileSystem files = opened(image);
  const auto source = files.open_file(files.find("sparse").value().value());
  REQUIRE(source);
  CHECK(support::read_all(**source, 100000).value() == expected);
}

TEST_CASE("ext file system: a block range gives no byte outside of it") {
  const support::Scratch scratch;
  const auto path = scratch.write("file", "0123456789");
  const auto fd = std::make_shared<const base::UniqueFd>(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const image::BlockRange range(fd, 2, 6);
  base::Bytes buffer(6);
  REQUIRE(range.read(0, buffer));
  CHECK(base::as_text(buffer) == "234567");
  CHECK(range.read(1, buffer).error().code() == ErrorCode::kDiskImage);
  CHECK(range.read(~std::uint64_t{0}, buffer).error().code() == ErrorCode::kDiskImage);
  CHECK(range.write(4, base::as_bytes("abc")).error().code() == ErrorCode::kDiskImage);
  REQUIRE(range.write(4, base::as_bytes("ab")));
  REQUIRE(range.part(3, 3));
  CHECK(range.part(3, 4).error().code() == ErrorCode::kDiskImage);
  base::Bytes two(2);
  REQUIRE(range.part(4, 2)->read(0, two));
  CHECK(base::as_text(two) == "ab");
  const image::BlockRange past(fd, 8, 6);
  CHECK(past.read(0, buffer).error().code() == ErrorCode::kDiskImage);
}
