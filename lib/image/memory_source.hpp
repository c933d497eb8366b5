// Bytes that are in memory, as a stream.
#pragma once

#include <algorithm>

#include "base/bytes.hpp"
#include "oci/byte_source.hpp"

namespace image {

class MemorySource final : public oci::ByteSource {
 public:
  /// `bytes` outlive this.
  explicit MemorySource(base::ByteView bytes) : rest_(bytes) {}
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const std::size_t count = std::min(buffer.size(), rest_.size());
    std::copy_n(rest_.begin(), count, buffer.begin());
    rest_ = rest_.subspan(count);
    return count;
  }

 private:
  base::ByteView rest_;
};

}  // namespace image
