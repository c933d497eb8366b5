#include "base/printable.hpp"

#include <array>
#include <cstdint>

namespace base {
namespace {

std::size_t utf8_length(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  const std::size_t length = lead < 0x80                   ? 1
                             : lead >= 0xC2 && lead < 0xE0 ? 2
                             : lead >= 0xE0 && lead < 0xF0 ? 3
                             : lead >= 0xF0 && lead < 0xF5 ? 4
                                                           : 0;
  if (length == 0 || length > text.size()) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((static_cast<std::uint8_t>(text[i]) & 0xC0U) != 0x80U) {
      return 0;
    }
  }
  return length;
}

bool is_control(std::string_view character) {
  const auto first = static_cast<std::uint8_t>(character[0]);
  if (character.size() == 1) {
    return first < 0x20 || first == 0x7F;
  }
  // C1 controls (U+0080 to U+009F) and the bidirectional overrides that reorder what is read.
  const auto second = static_cast<std::uint8_t>(character[1]);
  if (first == 0xC2 && second < 0xA0) {
    return true;
  }
  if (character.size() == 3 && first == 0xE2 && (second == 0x80 || second == 0x81)) {
    const auto third = static_cast<std::uint8_t>(character[2]);
    return second == 0x80 ? third >= 0xA8 && third <= 0xAE : third >= 0xA6 && third <= 0xA9;
  }
  return false;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
  constexpr std::array<char, 17> kHex{"0123456789abcdef"};
  std::string out;
  while (!text.empty()) {
    if (out.size() >= limit) {
      return out + "...";
    }
    const std::size_t length = utf8_length(text);
    if (length == 0 || is_control(text.substr(0, length))) {
      for (const char c : text.substr(0, length == 0 ? 1 : length)) {
        const auto byte = static_cast<std::uint8_t>(c);
        out += {'\\', 'x', kHex.at(byte >> 4U), kHex.at(byte & 0xFU)};
      }
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

}  // namespace base
