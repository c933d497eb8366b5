// CRC-64 (ISO 3309) as tar-split writes it: reflected polynomial 0xD800000000000000, start and end
// value all ones.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.hpp"

namespace image {

class Crc64 {
 public:
  void update(base::ByteView bytes);
  /// The checksum of everything so far, most significant byte first.
  [[nodiscard]] std::array<std::uint8_t, 8> value() const;

 private:
  std::uint64_t state_ = ~std::uint64_t{0};
};

}  // namespace image
