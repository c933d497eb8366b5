// The record of an archive: its JSON is the one of Go's encoder, byte for byte, and the same each
// time.
#include "image/tar_split_writer.hpp"

#include <catch2/catch.hpp>

#include "oci/decoder.hpp"
#include "support/byte_sources.hpp"

using base::ErrorCode;
using image::TarSplitWriter;

namespace {

std::string lines_of(base::ByteView record) {
  const auto plain =
      oci::open_decoder(std::make_unique<support::TextSource>(std::string(base::as_text(record))),
                        oci::Encoding::kGzip);
  return *support::read_all(*plain);
}

constexpr std::array<std::uint8_t, 8> kChecksum{1, 2, 3, 4, 5, 6, 7, 8};

}  // namespace

TEST_CASE("tar-split writer: segments and files are lines of JSON as Go writes them") {
  TarSplitWriter writer;
  REQUIRE(writer.raw(base::as_bytes("ab")));
  REQUIRE(writer.raw(base::as_bytes("c")));
  REQUIRE(writer.file("dir/<&>\"\\\n\x01\xE2\x80\xA8\xC3\xA9", 5, kChecksum));
  REQUIRE(writer.raw(base::as_bytes("d")));
  REQUIRE(writer.file("empty/", 0, {}));
  REQUIRE(writer.file("not\xFFtext", 0, {}));
  REQUIRE(writer.raw(base::as_bytes("e")));
  const auto record = writer.finish();
  REQUIRE(record);
  CHECK(lines_of(*record) ==
        "{\"type\":2,\"payload\":\"YWJj\",\"position\":0}\n"
        "{\"type\":1,\"name\":\"dir/\\u003c\\u0026\\u003e\\\"\\\\\\n\\u0001\\u2028\xC3\xA9\","
        "\"size\":5,\"payload\":\"AQIDBAUGBwg=\",\"position\":1}\n"
        "{\"type\":2,\"payload\":\"ZA==\",\"position\":2}\n"
        "{\"type\":1,\"name\":\"empty/\",\"payload\":null,\"position\":3}\n"
        "{\"type\":1,\"name_raw\":\"bm90/3RleHQ=\",\"payload\":null,\"position\":4}\n"
        "{\"type\":2,\"payload\":\"ZQ==\",\"position\":5}\n");
  CHECK(record->at(4) == 0);  // gzip's time, of which there is none
}

TEST_CASE("tar-split writer: two entries of one path are refused, as engines refuse them") {
  TarSplitWriter writer;
  REQUIRE(writer.file("a/b", 0, {}));
  REQUIRE(writer.file("a/c", 0, {}));
  const auto status = writer.file("./a//b/", 0, {});
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::kImageInvalid);
}
