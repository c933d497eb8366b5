// Growing and checking file systems in the middle of a file that must not change around them.
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "image/ext_file_system.hpp"
#include "unit/image/ext_images.hpp"

using base::ErrorCode;
using support::all_bytes;
using support::GuardedImage;
using support::opened;
using support::pattern;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// Writes bytes into the file system, counted from its start.
void scribble(const GuardedImage& image, std::uint64_t at, const std::string& bytes) {
  REQUIRE(image.range().write(at, base::as_bytes(bytes)));
}

}  // namespace

TEST_CASE("ext file system: grows to the end of its range and no further, in every shape") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/large", pattern(3 * kMiB)));
  for (std::size_t shape = 0; shape < support::kExtShapes.size(); ++shape) {
    CAPTURE(shape);
    const auto path = scratch / ("image" + std::to_string(shape));
    const GuardedImage small(path, 16 * kMiB, support::kExtShapes[shape], scratch / "tree");
    // The partition grows: its new bytes, and the guard behind it, hold what was there before.
    const std::string stale(60 * kMiB, '\x5a');
    scribble(GuardedImage(path, 77 * kMiB), 16 * kMiB, stale);
    {
      std::ofstream out(path, std::ios::binary | std::ios::in);
      out.seekp(static_cast<std::streamoff>(support::kGuardBytes + 76 * kMiB));
      out << std::string(support::kGuardBytes, '\xa5');
    }
    std::filesystem::resize_file(path, 78 * kMiB);
    const GuardedImage grown(path, 76 * kMiB);
    const auto status = image::grow_ext_file_system(grown.range(), scratch.path());
    INFO((status ? "" : status.error().message()));
    REQUIRE(status);
    CHECK(opened(grown).size_bytes() == 76 * kMiB);
    CHECK(opened(grown).free().bytes > 50 * kMiB);
    CHECK(opened(grown).read_file("large", 3 * kMiB).value() == pattern(3 * kMiB));
    CHECK(grown.faults() == "");
    CHECK(image::check_ext_file_system(grown.range()));
    CHECK(grown.guards_intact());
    CHECK(std::filesystem::file_size(path) == 78 * kMiB);
    const std::string once = all_bytes(path);
    REQUIRE(image::grow_ext_file_system(grown.range(), scratch.path()));
    CHECK((all_bytes(path) == once));
  }
}

TEST_CASE("ext file system: growing gives the same bytes each time") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/one", "first"));
  const GuardedImage small(scratch / "one", 16 * kMiB, {"-b", "4096"}, scratch / "tree");
  std::filesystem::resize_file(scratch / "one", 180 * kMiB);
  std::filesystem::copy_file(scratch / "one", scratch / "two");
  for (const std::string name : {"one", "two"}) {
    REQUIRE(image::grow_ext_file_system(GuardedImage(scratch / name, 170 * kMiB).range(),
                                        scratch.path()));
    const time_t now = ::time(nullptr);
    while (::time(nullptr) == now) {  // the clock must not matter
      ::usleep(1000);
    }
  }
  CHECK((all_bytes(scratch / "one") == all_bytes(scratch / "two")));
}

TEST_CASE("ext file system: one that is damaged is neither grown nor found sound") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/large", pattern(3 * kMiB)));
  const auto path = scratch / "image";
  const GuardedImage small(path, 16 * kMiB, {"-b", "4096", "-O", "^metadata_csum"},
                           scratch / "tree");
  small.change("clri /large");  // its blocks belong to nobody now
  std::filesystem::resize_file(path, 40 * kMiB);
  const std::string before = all_bytes(path);
  const GuardedImage grown(path, 30 * kMiB);
  const auto checked = image::check_ext_file_system(grown.range());
  REQUIRE(!checked);
  CHECK(checked.error().code() == ErrorCode::kDiskImage);
  CHECK(checked.error().message().find("large") != std::string::npos);
  CHECK(image::grow_ext_file_system(grown.range(), scratch.path()).error().code() ==
        ErrorCode::kDiskImage);
  CHECK((all_bytes(path) == before));
}
