// Numbers as partition tables and file systems have them on a disk: least significant byte first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.hpp"

namespace image {

/// The number at `at`. \pre at + sizeof(T) <= bytes.size()
template <typename T>
T load_le(base::ByteView bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = sizeof(T); i > 0; --i) {
    value = value << 8U | bytes[at + i - 1];
  }
  return static_cast<T>(value);
}

/// \pre at + sizeof(T) <= bytes.size()
template <typename T>
void store_le(std::span<std::uint8_t> bytes, std::size_t at, T number) {
  auto value = static_cast<std::uint64_t>(number);
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value);
    value >>= 8U;
  }
}

}  // namespace image
