// A stream of bytes that is read once, from front to end.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.hpp"

namespace oci {

class ByteSource {
 public:
  ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  virtual ~ByteSource() = default;

  /// Reads at least one byte and at most buffer.size().
  /// \return bytes read; 0 only at the end (or for an empty buffer)
  virtual base::Result<std::size_t> read(std::span<std::uint8_t> buffer) = 0;
};

}  // namespace oci
