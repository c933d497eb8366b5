// What a layer takes on ext4 after extraction.
#include "oci/layer_usage.hpp"

#include <catch2/catch.hpp>

#include "support/tar_builder.hpp"

using base::ErrorCode;
using support::TarBuilder;

namespace {

base::Result<oci::LayerUsage> measure(const std::string& tar, std::size_t piece = 65536) {
  oci::LayerMeter meter;
  auto rest = base::as_bytes(tar);
  while (!rest.empty()) {
    const std::size_t count = std::min(piece, rest.size());
    meter.feed(rest.first(count));
    rest = rest.subspan(count);
  }
  return meter.finish();
}

}  // namespace

TEST_CASE("layer usage: counts whole blocks and inodes") {
  const std::string tar = TarBuilder()
                              .directory("bin")
                              .file("bin/empty", "")
                              .file("bin/one-byte", "x")
                              .file("bin/one-block", std::string(4096, 'x'))
                              .file("bin/two-blocks", std::string(4097, 'x'))
                              .symlink("bin/short", std::string(59, 't'))
                              .symlink("bin/long", std::string(60, 't'))
                              .fifo("fifo")
                              .device("null", 1, 3)
                              .finish();
  const std::size_t piece = GENERATE(std::size_t{1}, 511U, 65536U);
  const auto usage = measure(tar, piece).value();
  CHECK(usage.inodes == 9);
  CHECK(usage.bytes == 4096U * (1 + 1 + 1 + 2 + 1));
}

TEST_CASE("layer usage: hard links count once, whiteouts are inodes, opaque marks are not") {
  const std::string tar = TarBuilder()
                              .file("data", std::string(5000, 'x'))
                              .hardlink("again", "data")
                              .whiteout("etc/gone")
                              .opaque("etc")
                              .finish();
  const auto usage = measure(tar).value();
  CHECK(usage.inodes == 2);
  CHECK(usage.bytes == 8192);
}

TEST_CASE("layer usage: names of any length and character set are counted") {
  const std::string tar = TarBuilder()
                              .file("d\xc3\xbcrre/" + std::string(300, 'n'), "x")
                              .file("\xff\xfe", "x")
                              .hardlink("\xc3\xa9", "d\xc3\xbcrre/" + std::string(300, 'n'))
                              .finish();
  CHECK(measure(tar).value().inodes == 2);
}

TEST_CASE("layer usage: an empty layer takes nothing") {
  CHECK(measure(std::string(1024, '\0')).value().inodes == 0);
  CHECK(measure("").value().bytes == 0);
}

TEST_CASE("layer usage: padding of many megabytes behind the end is taken in") {
  const std::string tar = TarBuilder().file("a", "x").finish() + std::string(20'000'000, '\0');
  CHECK(measure(tar).value().inodes == 1);
}

TEST_CASE("layer usage: what is no tar, or is cut, is an error") {
  const std::string tar = TarBuilder().file("a", std::string(100'000, 'x')).finish();
  const std::string bad = GENERATE_COPY(std::string("not a tar at all"), std::string(5000, 'x'),
                                        tar.substr(0, 700), tar.substr(0, 90'000));
  const auto usage = measure(bad);
  REQUIRE_FALSE(usage);
  CHECK(usage.error().code() == ErrorCode::kImageInvalid);
}

TEST_CASE("layer usage: a meter can be given up in the middle") {
  const std::string tar = TarBuilder().file("a", std::string(100'000, 'x')).finish();
  oci::LayerMeter meter;
  meter.feed(base::as_bytes(tar).first(1000));
  SUCCEED("the destructor returns");
}
