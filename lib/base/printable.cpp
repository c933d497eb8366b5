#include "base/printable.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace base {
namespace {

struct Character {
  std::size_t length = 0;  // in bytes; 0: not valid UTF-8
  char32_t code_point = 0;
};

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
Character first_character(std::string_view text) {
  struct Form {
    std::uint8_t mask;
    std::uint8_t lead;
    char32_t smallest;
  };
  constexpr std::array<Form, 4> kForms{
      {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}}};
  const auto lead = static_cast<std::uint8_t>(text[0]);
  for (std::size_t i = 0; i < kForms.size(); ++i) {
    const Form& form = kForms.at(i);
    const std::size_t length = i + 1;
    if ((lead & form.mask) != form.lead || text.size() < length) {
      continue;
    }
    auto code_point = static_cast<char32_t>(lead & static_cast<std::uint8_t>(~form.mask));
    for (const char c : text.substr(1, length - 1)) {
      const auto byte = static_cast<std::uint8_t>(c);
      if ((byte & 0xC0U) != 0x80U) {
        return {};
      }
      code_point = (code_point << 6U) | (byte & 0x3FU);
    }
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    return code_point < form.smallest || surrogate || code_point > 0x10FFFF
               ? Character{}
               : Character{length, code_point};
  }
  return {};
}

// Controls, line and paragraph separators, and what reorders or hides the text around it.
bool is_harmful(char32_t c) {
  struct Range {
    char32_t first;
    char32_t last;
  };
  constexpr std::array<Range, 8> kRanges{{{0x00, 0x1F},
                                          {0x7F, 0x9F},
                                          {0x061C, 0x061C},
                                          {0x200B, 0x200F},
                                          {0x2028, 0x202E},
                                          {0x2060, 0x206F},
                                          {0xFEFF, 0xFEFF},
                                          {0xFFF9, 0xFFFB}}};
  return std::any_of(kRanges.begin(), kRanges.end(),
                     [c](const Range& range) { return c >= range.first && c <= range.last; });
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
  constexpr std::array<char, 17> kHex{"0123456789abcdef"};
  std::string out;
  while (!text.empty()) {
    if (out.size() >= limit) {
      return out + "...";
    }
    const Character character = first_character(text);
    const std::string_view bytes = text.substr(0, std::max<std::size_t>(character.length, 1));
    if (character.length == 0 || is_harmful(character.code_point)) {
      for (const char c : bytes) {
        const auto byte = static_cast<std::uint8_t>(c);
        out += {'\\', 'x', kHex.at(byte >> 4U), kHex.at(byte & 0xFU)};
      }
    } else {
      out += bytes;
    }
    text.remove_prefix(bytes.size());
  }
  return out;
}

}  // namespace base
