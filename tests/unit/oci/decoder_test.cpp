// Every compressed stream gives all of its bytes or an error, never a shorter text.
#include "oci/decoder.hpp"

#include <catch2/catch.hpp>

#include "support/byte_sources.hpp"
#include "support/tar_builder.hpp"

using base::ErrorCode;
using oci::Encoding;
using support::gzip;
using support::noise;
using support::TextSource;
using support::zstd;

namespace {

base::Result<std::string> decode(const std::string& bytes, std::size_t piece = 4096) {
  OU_TRY(const auto decoder, oci::open_decoder(std::make_unique<TextSource>(bytes, piece)));
  return support::read_all(*decoder, piece);
}

base::Result<std::string> decode_as(const std::string& bytes, Encoding encoding) {
  return support::read_all(*oci::open_decoder(std::make_unique<TextSource>(bytes), encoding));
}

std::string some_text() {
  std::string text = noise(20'000);
  text.append(300'000, 'a');
  return text + noise(777, 2);
}

}  // namespace

TEST_CASE("decoder: gives back what was compressed, however the pieces fall") {
  const std::string text = some_text();
  const std::size_t piece = GENERATE(std::size_t{1}, 3U, 4096U, 1'000'000U);
  CHECK(decode(text, piece).value() == text);
  CHECK(decode(gzip(text), piece).value() == text);
  CHECK(decode(zstd(text), piece).value() == text);
}

TEST_CASE("decoder: an empty or very short plain stream stays what it is") {
  CHECK(decode("").value().empty());
  CHECK(decode("a").value() == "a");
  CHECK(decode("\x1f").value() == "\x1f");
}

TEST_CASE("decoder: gzip members and zstd frames in a row are one stream") {
  CHECK(decode(gzip("one ") + gzip("") + gzip("two")).value() == "one two");
  CHECK(decode(zstd("one ") + zstd("") + zstd("two")).value() == "one two");
}

TEST_CASE("decoder: skippable zstd frames are skipped, also in front") {
  const std::string skippable = std::string("\x51\x2a\x4d\x18\x03\0\0\0", 8) + "xyz";
  CHECK(decode(skippable + zstd("text") + skippable).value() == "text");
}

TEST_CASE("decoder: a stream cut anywhere is an error") {
  const std::string text = some_text();
  const std::string whole = GENERATE_COPY(gzip(text), zstd(text));
  const Encoding encoding = oci::sniff_encoding(base::as_bytes(whole));
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{100},
                                   whole.size() / 2, whole.size() - 9, whole.size() - 1}) {
    const auto decoded = decode_as(whole.substr(0, length), encoding);
    REQUIRE_FALSE(decoded);
    CHECK(decoded.error().code() == ErrorCode::kImageInvalid);
  }
  CHECK(decode_as(whole, encoding).value() == text);
}

TEST_CASE("decoder: a second member or frame that is cut is an error") {
  const std::string text = some_text();
  const std::string whole = GENERATE_COPY(gzip(text), zstd(text));
  CHECK(decode(whole + whole.substr(0, whole.size() / 2)).error().code() ==
        ErrorCode::kImageInvalid);
}

TEST_CASE("decoder: anything else after the end is an error") {
  const std::string whole = GENERATE(gzip("text"), zstd("text"));
  const std::string rest =
      GENERATE(as<std::string>{}, "x", "garbage behind the end", std::string(512, '\0'));
  const auto decoded = decode(whole + rest);
  REQUIRE_FALSE(decoded);
  CHECK(decoded.error().code() == ErrorCode::kImageInvalid);
}

TEST_CASE("decoder: altered data is an error") {
  const std::string text = some_text();
  std::string whole = gzip(text);
  whole[whole.size() - 6] = static_cast<char>(whole[whole.size() - 6] ^ 1);  // inside the CRC-32
  CHECK(decode(whole).error().code() == ErrorCode::kImageInvalid);
}

TEST_CASE("decoder: a zstd window is accepted up to 8 MiB and refused beyond") {
  CHECK(decode(zstd("text", 3, oci::kMaxZstdWindowLog)).value() == "text");
  const auto decoded = decode(zstd("text", 3, oci::kMaxZstdWindowLog + 1));
  REQUIRE_FALSE(decoded);
  CHECK(decoded.error().code() == ErrorCode::kImageInvalid);
  CHECK_THAT(decoded.error().message(), Catch::Contains("8 MiB"));
}

TEST_CASE("decoder: what the source reports comes out") {
  class Broken final : public oci::ByteSource {
   public:
    base::Result<std::size_t> read(std::span<std::uint8_t> /*buffer*/) override {
      return base::Error(ErrorCode::kIo, "broken");
    }
  };
  const Encoding encoding = GENERATE(Encoding::kNone, Encoding::kGzip, Encoding::kZstd);
  const auto decoder = oci::open_decoder(std::make_unique<Broken>(), encoding);
  CHECK(support::read_all(*decoder).error().code() == ErrorCode::kIo);
  CHECK(oci::open_decoder(std::make_unique<Broken>()).error().code() == ErrorCode::kIo);
}

TEST_CASE("decoder: encodings have the names that a manifest uses") {
  for (const Encoding encoding : {Encoding::kNone, Encoding::kGzip, Encoding::kZstd}) {
    CHECK(oci::parse_encoding(oci::name_of(encoding)).value() == encoding);
  }
  CHECK(oci::parse_encoding("xz").error().code() == ErrorCode::kManifestField);
}
