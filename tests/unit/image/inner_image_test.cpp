// The image inside a flasher: found, copied out, changed and written back.
#include <catch2/catch.hpp>

#include "disk_images.hpp"
#include "image/ext_file_system.hpp"
#include "image/os_image.hpp"

namespace {

using base::ErrorCode;
using image::ExtFileSystem;
using image::ImageFile;
using image::InnerImage;
using image::OsImage;
using image::PartRole;
using support::DiskImage;
using support::kMiB;

constexpr const char* kName = "opt/balena-image-genericx86-64-ext.balenaos-img";

/// A range read from front to end.
class Source final : public oci::ByteSource {
 public:
  explicit Source(image::BlockRange range) : range_(std::move(range)) {}
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const std::size_t count = std::min<std::uint64_t>(buffer.size(), range_.size_bytes() - at_);
    OU_CHECK(range_.read(at_, buffer.first(count)));
    at_ += count;
    return count;
  }

 private:
  image::BlockRange range_;
  std::uint64_t at_ = 0;
};

/// A flasher whose flash-rootA has just enough room for the image that it holds.
class Flasher {
 public:
  explicit Flasher(DiskImage::Kind kind)
      : disk_(scratch_ / "flasher.img", kind, "flash-"),
        inner_(scratch_ / "inner.img", DiskImage::Kind::kGpt) {
    OsImage flasher = open();
    REQUIRE(flasher.grow(PartRole::kRootA, 104 * kMiB));
    REQUIRE(image::grow_ext_file_system(*flasher.range_of(PartRole::kRootA), scratch_.path()));
    put(kName, inner_.file().whole());
  }

  [[nodiscard]] OsImage open() const {
    auto flasher = OsImage::open(disk_.file());
    REQUIRE(flasher);
    return *std::move(flasher);
  }
  [[nodiscard]] ExtFileSystem root(ExtFileSystem::Access access) const {
    auto files = ExtFileSystem::open(*open().range_of(PartRole::kRootA), access);
    REQUIRE(files);
    return *std::move(files);
  }
  void put(const std::string& path, const image::BlockRange& content) const {
    ExtFileSystem files = root(ExtFileSystem::Access::kChange);
    Source source(content);
    REQUIRE(files.make_directory("opt", 0755));
    REQUIRE(files.write_file(path, source, content.size_bytes(), 0640));
    REQUIRE(files.close());
  }
  [[nodiscard]] const DiskImage& disk() const { return disk_; }
  [[nodiscard]] const DiskImage& inner() const { return inner_; }
  [[nodiscard]] const std::filesystem::path& scratch() const { return scratch_.path(); }

 private:
  support::Scratch scratch_;
  DiskImage disk_;
  DiskImage inner_;
};

std::string all_of(const image::BlockRange& range) {
  base::Bytes bytes(range.size_bytes());
  REQUIRE(range.read(0, bytes));
  return std::string(base::as_text(bytes));
}

}  // namespace

TEST_CASE("inner image: found by its name, copied out whole, and a signature is seen") {
  const Flasher made(DiskImage::Kind::kGpt);
  base::NoProgress progress;
  const OsImage flasher = made.open();
  const auto found = image::find_inner_image(flasher);
  REQUIRE(found);
  CHECK(found->path == kName);
  CHECK(found->size_bytes == 96 * kMiB);
  CHECK_FALSE(found->signed_for_secure_boot);
  const auto inner = image::open_inner_image(flasher, *found, made.scratch(), progress);
  REQUIRE(inner);
  CHECK_FALSE(inner->flasher());
  CHECK(all_of(inner->file().whole()) == all_of(made.inner().file().whole()));

  made.put(std::string(kName) + ".sig", *made.inner().file().whole().part(0, 512));
  const auto again = image::find_inner_image(made.open());
  REQUIRE(again);
  CHECK(again->signed_for_secure_boot);
  OsImage signed_flasher = made.open();
  const auto refused =
      image::put_inner_image_back(signed_flasher, *again, inner->file(), made.scratch(), progress);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::kDiskImageUnsupported);
  CHECK_THAT(refused.error().message(), Catch::Contains("bundle"));
}

TEST_CASE("inner image: one that has grown is written back, and flash-rootA grows for it") {
  for (const auto kind : {DiskImage::Kind::kMbr, DiskImage::Kind::kGpt}) {
    const Flasher made(kind);
    base::NoProgress progress;
    OsImage flasher = made.open();
    const std::string data_before = all_of(*flasher.range_of(PartRole::kData));
    const std::uint64_t size_before = flasher.range_of(PartRole::kRootA)->size_bytes();
    const auto found = image::find_inner_image(flasher);
    REQUIRE(found);
    auto inner = image::open_inner_image(flasher, *found, made.scratch(), progress);
    REQUIRE(inner);
    REQUIRE(inner->grow(PartRole::kData, 112 * kMiB));
    // Data, because what is zero takes no room.
    const std::string data(112 * kMiB, 'x');
    const auto larger = inner->range_of(PartRole::kData);
    REQUIRE(larger);
    REQUIRE(larger->write(larger->size_bytes() - data.size(), base::as_bytes(data)));
    const std::string changed = all_of(inner->file().whole());

    REQUIRE(image::put_inner_image_back(flasher, *found, inner->file(), made.scratch(), progress));

    CHECK(made.disk().faults().empty());
    const OsImage after = made.open();
    CHECK(after.range_of(PartRole::kRootA)->size_bytes() > size_before);
    CHECK(all_of(*after.range_of(PartRole::kData)) == data_before);
    CHECK(image::check_ext_file_system(*after.range_of(PartRole::kRootA)));
    const auto again = image::find_inner_image(after);
    REQUIRE(again);
    CHECK(again->size_bytes == changed.size());
    const auto back = image::open_inner_image(after, *again, made.scratch(), progress);
    REQUIRE(back);
    CHECK(all_of(back->file().whole()) == changed);
    const ExtFileSystem files = made.root(ExtFileSystem::Access::kRead);
    CHECK((*files.find(kName))->permissions == 0640);
  }
}

TEST_CASE("inner image: one of the same size does not make anything larger") {
  const Flasher made(DiskImage::Kind::kGpt);
  base::NoProgress progress;
  OsImage flasher = made.open();
  const std::string table = made.disk().table();
  const auto found = image::find_inner_image(flasher);
  REQUIRE(found);
  const auto inner = image::open_inner_image(flasher, *found, made.scratch(), progress);
  REQUIRE(inner);
  REQUIRE(inner->range_of(PartRole::kState)->write(0, base::as_bytes("changed")));
  REQUIRE(image::put_inner_image_back(flasher, *found, inner->file(), made.scratch(), progress));
  CHECK(made.disk().table() == table);
  CHECK(image::check_ext_file_system(*made.open().range_of(PartRole::kRootA)));
}

TEST_CASE("inner image: none, two, or something else than an image are errors that say so") {
  const Flasher made(DiskImage::Kind::kGpt);
  base::NoProgress progress;
  SECTION("two") {
    made.put("opt/other.balenaos-img", *made.inner().file().whole().part(0, 512));
    const auto found = image::find_inner_image(made.open());
    REQUIRE_FALSE(found);
    CHECK_THAT(found.error().message(), Catch::Contains("two images"));
  }
  SECTION("none") {
    ExtFileSystem files = made.root(ExtFileSystem::Access::kChange);
    REQUIRE(files.remove_file(kName));
    REQUIRE(files.close());
    const auto found = image::find_inner_image(made.open());
    REQUIRE_FALSE(found);
    CHECK(found.error().code() == ErrorCode::kDiskImage);
  }
  SECTION("no image") {
    made.put(kName, *made.inner().file().whole().part(4 * kMiB, kMiB));
    const OsImage flasher = made.open();
    const auto found = image::find_inner_image(flasher);
    REQUIRE(found);
    const auto inner = image::open_inner_image(flasher, *found, made.scratch(), progress);
    REQUIRE_FALSE(inner);
    CHECK(inner.error().code() == ErrorCode::kDiskImage);
  }
}
