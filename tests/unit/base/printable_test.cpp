// Text from outside cannot move the cursor, hide or reorder what a person reads.
#include "base/printable.hpp"

#include <catch2/catch.hpp>

using base::printable;

TEST_CASE("printable: plain text of any language stays as it is") {
  const std::string text =
      GENERATE("", "manifest.json", "a b\"c\\d~", "f\xC3\xBCr \xE2\x82\xAC", "\xF0\x9F\x98\x80",
               "\xED\x9F\xBF\xEE\x80\x80", "\xF4\x8F\xBF\xBD", "\xC2\xA0");
  CHECK(printable(text) == text);
}

TEST_CASE("printable: control characters are written out") {
  for (int byte = 0; byte < 0x80; ++byte) {
    const std::string out = printable(std::string(1, static_cast<char>(byte)));
    INFO(byte);
    CHECK((out.size() == 1) == (byte >= 0x20 && byte < 0x7F));
  }
  CHECK(printable("\x1b[2J\n") == "\\x1b[2J\\x0a");
  CHECK(printable(std::string_view("a\0b", 3)) == "a\\x00b");
  CHECK(printable("\xC2\x9B") == "\\xc2\\x9b");  // a terminal's CSI in one character
}

TEST_CASE("printable: bytes that are not valid UTF-8 are written out") {
  CHECK(printable("\x80") == "\\x80");
  CHECK(printable("a\xC3") == "a\\xc3");
  CHECK(printable("\xC3(") == "\\xc3(");
  CHECK(printable("\xE2\x82") == "\\xe2\\x82");
  CHECK(printable("\xFF\xFE") == "\\xff\\xfe");
  CHECK(printable("\xC0\xAF") == "\\xc0\\xaf");                    // overlong "/"
  CHECK(printable("\xE0\x80\xAF") == "\\xe0\\x80\\xaf");           // overlong "/"
  CHECK(printable("\xE0\x9F\xBF") == "\\xe0\\x9f\\xbf");           // overlong
  CHECK(printable("\xF0\x8F\xBF\xBF") == "\\xf0\\x8f\\xbf\\xbf");  // overlong
  CHECK(printable("\xED\xA0\x80") == "\\xed\\xa0\\x80");           // half of a surrogate pair
  CHECK(printable("\xF4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // above U+10FFFF
  CHECK(printable("\xF5\x80\x80\x80") == "\\xf5\\x80\\x80\\x80");
}

TEST_CASE("printable: characters that reorder, hide or break lines are written out") {
  const std::string mark = GENERATE("\xE2\x80\xAA", "\xE2\x80\xAB", "\xE2\x80\xAC", "\xE2\x80\xAD",
                                    "\xE2\x80\xAE", "\xE2\x81\xA6", "\xE2\x81\xA7", "\xE2\x81\xA8",
                                    "\xE2\x81\xA9", "\xE2\x80\x8E", "\xE2\x80\x8F", "\xD8\x9C",
                                    "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\x8B", "\xEF\xBB\xBF");
  const auto out = printable("a" + mark + "gnp.exe");
  CHECK(out.find(mark) == std::string::npos);
  CHECK(out.starts_with("a\\x"));
  CHECK(out.ends_with("gnp.exe"));
}

TEST_CASE("printable: cuts what is too long between characters, and says so") {
  CHECK(printable("abcdef", 6) == "abcdef");
  CHECK(printable("abcdefg", 6) == "abcdef...");
  CHECK(printable("ab\xC3\xBC\xC3\xBC", 3) == "ab\xC3\xBC...");
  CHECK(printable(std::string(1'000'000, '\x01')).size() < 250);
}
