// The one spelling of a digest that is accepted.
#include "oci/digest.hpp"

#include <catch2/catch.hpp>

using oci::Digest;

TEST_CASE("digest: names the SHA-256 of its content") {
  const std::string text =
      "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  CHECK(Digest::of(base::as_bytes("abc")).text() == text);
  CHECK(Digest::parse(text).value() == Digest::of(base::as_bytes("abc")));
}

TEST_CASE("digest: refuses any other spelling") {
  const std::string hex = Digest::of(base::as_bytes("abc")).hex();
  std::string upper = hex;
  upper[0] = 'B';
  const std::string bad = GENERATE_COPY(
      std::string(), hex, "sha256:", "sha256:" + hex + "00", "sha256:" + hex.substr(2),
      "sha256:" + upper, "sha512:" + hex, " sha256:" + hex, "sha256:../" + hex.substr(3));
  const auto parsed = Digest::parse(bad);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == base::ErrorCode::kImageInvalid);
}
