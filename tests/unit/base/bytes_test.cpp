// Hex and base64: exactly one spelling of each value.
#include "base/bytes.hpp"

#include <catch2/catch.hpp>

namespace {

base::Bytes of(std::string_view text) {
  return {text.begin(), text.end()};
}

}  // namespace

TEST_CASE("base64: every length survives") {
  base::Bytes bytes;
  for (unsigned i = 0; i < 300; ++i) {
    CHECK(base::from_base64(base::to_base64(bytes)).value() == bytes);
    bytes.push_back(static_cast<std::uint8_t>(i * 37));
  }
  CHECK(base::to_base64(of("foob")) == "Zm9vYg==");
}

TEST_CASE("base64: one value has one spelling") {
  const std::string bad =
      GENERATE("Zm9vYg=", "Zm9vYg", "Zm9vYg===", "Zm9vYh==", "Zm9vYg==\n",
               " Zm9vYg==", "Zm9v Yg==", "Zm9v-_==", "Zm9vYg==Zm9v", "=", "====", "Z", "Zm", "Zm9");
  CHECK_FALSE(base::from_base64(bad));
}

TEST_CASE("base64: takes no byte outside its alphabet, wherever it stands") {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto c = static_cast<char>(byte);
    INFO("byte " << byte);
    CHECK(base::from_base64(std::string(4, c)).has_value() ==
          (alphabet.find(c) != std::string::npos));
    CHECK(base::from_base64(std::string("Zm9") + c).has_value() ==
          (alphabet.find(c) != std::string::npos));
  }
}

TEST_CASE("hex: lower case only, two digits for each byte") {
  CHECK(base::to_hex(of("\x01\xff")) == "01ff");
  CHECK(base::from_hex("01ff").value() == of("\x01\xff"));
  CHECK(base::from_hex("").value().empty());
  const std::string bad = GENERATE("0", "0G", "FF", "0x", "01 ff", "01:ff", "01ff\n", " 01ff");
  CHECK_FALSE(base::from_hex(bad));
}
