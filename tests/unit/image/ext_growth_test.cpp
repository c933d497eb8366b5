// How much a file system has to grow: enough, as resize2fs shows, and hardly more.
#include "image/ext_growth.hpp"

#include <catch2/catch.hpp>

#include "ext_images.hpp"

using support::GuardedImage;
using support::Scratch;

namespace {

/// What is free after growing by what was computed. \return also by how much it grew
std::pair<base::Room, std::uint64_t> room_after(const base::Room& need,
                                                const std::vector<std::string>& options) {
  const Scratch scratch;
  const std::uint64_t size = std::uint64_t{192} << 20U;
  const GuardedImage disk(scratch / "disk", size, options);
  const auto missing = image::missing_bytes(support::opened(disk), need);
  REQUIRE(missing);
  std::filesystem::resize_file(disk.path(), support::kGuardBytes + size + *missing);
  const GuardedImage larger(disk.path(), size + *missing);
  REQUIRE(image::grow_ext_file_system(larger.range(), scratch.path()));
  return {support::opened(larger).free(), *missing};
}

}  // namespace

TEST_CASE("ext growth: what is free already needs none") {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", 64 << 20U, {"-b", "4096"});
  const auto files = support::opened(disk);
  CHECK(*image::missing_bytes(files, files.free()) == 0);
  CHECK(*image::missing_bytes(files, {files.free().bytes + 1, 0}) == 4096);
  CHECK_FALSE(image::missing_bytes(files, {std::uint64_t{1} << 60U, 0}));
}

TEST_CASE("ext growth: blocks and inodes are there afterwards, and no more than asked for") {
  const std::vector<std::string> factory = {"-T", "default", "-b", "4096", "-i", "8192"};
  for (const std::uint64_t mib : {200U, 500U, 1500U}) {
    const auto [free, grown] = room_after({mib << 20U, 0}, factory);
    CHECK(free.bytes >= mib << 20U);
    CHECK(free.bytes - (mib << 20U) < 1 << 20U);
  }
  const auto [free, grown] = room_after({0, 100'000}, factory);
  CHECK(free.inodes >= 100'000);
  CHECK(free.inodes < 100'000 + 16'384 + 1);
}
