#include "install/byte_range.hpp"

#include <catch2/catch.hpp>

namespace {

using agent::install::parse_range;

constexpr std::uint64_t kSize = 1000;

/// "first+count", or nothing.
std::string parsed(std::string_view header, std::uint64_t size = kSize) {
  const auto range = parse_range(header, size);
  return range ? std::to_string(range->first) + "+" + std::to_string(range->count) : "";
}

}  // namespace

TEST_CASE("byte range: understands a first byte, with and without a last one") {
  CHECK(parsed("bytes=0-") == "0+1000");
  CHECK(parsed("bytes=1-") == "1+999");
  CHECK(parsed("bytes=999-") == "999+1");
  CHECK(parsed("bytes=0-0") == "0+1");
  CHECK(parsed("bytes=10-19") == "10+10");
  CHECK(parsed("bytes=990-999") == "990+10");
}

TEST_CASE("byte range: cuts a range at the end of the content") {
  CHECK(parsed("bytes=990-1000") == "990+10");
  CHECK(parsed("bytes=0-18446744073709551615") == "0+1000");
  CHECK(parsed("bytes=0-18446744073709551615", UINT64_MAX) == "0+18446744073709551615");
}

TEST_CASE("byte range: refuses everything else") {
  for (const char* header : {"",
                             "bytes",
                             "bytes=",
                             "bytes=-",
                             "bytes=-5",
                             "bytes=1000-",
                             "bytes=1000-1001",
                             "bytes=5-4",
                             "bytes=0-1,3-4",
                             "bytes=0-,5-",
                             "bytes= 0-",
                             "bytes=0 -",
                             "bytes=0- ",
                             "bytes=+1-",
                             "bytes=0x1-",
                             "bytes=18446744073709551616-",
                             "bytes=0-18446744073709551616",
                             "Bytes=0-",
                             "items=0-",
                             "bytes=1--2",
                             "bytes=a-",
                             "bytes=1-b"}) {
    CAPTURE(header);
    CHECK(parsed(header).empty());
  }
  CHECK(parsed("bytes=0-", 0).empty());
}
