#include "image/utf16.hpp"

#include <cstdint>

#include "image/little_endian.hpp"

namespace image {
namespace {

constexpr std::uint32_t kReplacement = 0xFFFD;

void append_utf8(std::string& text, std::uint32_t point) {
  const auto tail = [&text](std::uint32_t bits) {
    text.push_back(static_cast<char>(0x80U | (bits & 0x3FU)));
  };
  if (point < 0x80) {
    text.push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    text.push_back(static_cast<char>(0xC0U | point >> 6U));
    tail(point);
  } else if (point < 0x10000) {
    text.push_back(static_cast<char>(0xE0U | point >> 12U));
    tail(point >> 6U);
    tail(point);
  } else {
    text.push_back(static_cast<char>(0xF0U | point >> 18U));
    tail(point >> 12U);
    tail(point >> 6U);
    tail(point);
  }
}

bool is_high(std::uint32_t unit) {
  return unit >= 0xD800 && unit < 0xDC00;
}
bool is_low(std::uint32_t unit) {
  return unit >= 0xDC00 && unit < 0xE000;
}

}  // namespace

std::string from_utf16(base::ByteView bytes) {
  std::string text;
  for (std::size_t at = 0; at + 2 <= bytes.size(); at += 2) {
    std::uint32_t point = load_le<std::uint16_t>(bytes, at);
    if (point == 0) {
      break;
    }
    if (is_high(point) && at + 4 <= bytes.size() && is_low(load_le<std::uint16_t>(bytes, at + 2))) {
      at += 2;
      point = 0x10000U + ((point - 0xD800U) << 10U) +
              (load_le<std::uint16_t>(bytes, at) - std::uint32_t{0xDC00});
    } else if (is_high(point) || is_low(point)) {
      point = kReplacement;
    }
    append_utf8(text, point);
  }
  return text;
}

}  // namespace image
