// A stream that is read and hashed by a thread of its own, a bounded piece ahead of who uses it.
#pragma once

#include <memory>

#include "oci/byte_source.hpp"
#include "oci/digest.hpp"

namespace image {

class ReadAhead final : public oci::ByteSource {
 public:
  /// At most this much has been read and not been used.
  static constexpr std::size_t kMaxBytesAhead = std::size_t{8} * 1024 * 1024;

  explicit ReadAhead(std::unique_ptr<oci::ByteSource> source);
  /// Waits for a read of the source that is under way.
  ~ReadAhead() override;

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override;

  /// SHA-256 and number of all bytes. \pre read() has returned 0
  [[nodiscard]] oci::Digest digest() const;
  [[nodiscard]] std::uint64_t size_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace image
