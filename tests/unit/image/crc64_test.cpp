#include "image/crc64.hpp"

#include <catch2/catch.hpp>

#include "base/bytes.hpp"

// The check value of CRC-64/GO-ISO in the catalogue of parametrised CRC algorithms.
TEST_CASE("crc64: the checksum of \"123456789\" is that of the catalogue") {
  image::Crc64 crc;
  crc.update(base::as_bytes("123456789"));
  CHECK(base::to_hex(crc.value()) == "b90956c775a41001");
}

TEST_CASE("crc64: pieces of any length give the checksum of the whole") {
  base::Bytes bytes;
  for (unsigned i = 0; i < 1000; ++i) {
    bytes.push_back(static_cast<std::uint8_t>(i * i + 7 * i));
  }
  image::Crc64 whole;
  whole.update(bytes);
  for (const std::size_t piece : {1U, 3U, 8U, 13U, 999U}) {
    image::Crc64 pieces;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      pieces.update(base::ByteView(bytes).subspan(at, std::min<std::size_t>(piece, 1000 - at)));
    }
    CHECK(pieces.value() == whole.value());
  }
}
