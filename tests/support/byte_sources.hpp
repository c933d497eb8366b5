// Streams for tests: text as a source, and a source read to its end.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "oci/byte_source.hpp"

namespace support {

/// Gives `text` in pieces of at most `piece` bytes.
class TextSource final : public oci::ByteSource {
 public:
  explicit TextSource(std::string text, std::size_t piece = 4096)
      : text_(std::move(text)), piece_(piece) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const std::size_t count = std::min({buffer.size(), piece_, text_.size() - at_});
    std::copy_n(base::as_bytes(text_).begin() + static_cast<std::ptrdiff_t>(at_), count,
                buffer.begin());
    at_ += count;
    return count;
  }

 private:
  std::string text_;
  std::size_t piece_;
  std::size_t at_ = 0;
};

/// Everything that `source` gives, read in pieces of at most `piece` bytes.
inline base::Result<std::string> read_all(oci::ByteSource& source, std::size_t piece = 65536) {
  std::string text;
  base::Bytes buffer(piece);
  for (;;) {
    OU_TRY(const std::size_t got, source.read(buffer));
    if (got == 0) {
      return text;
    }
    text += base::as_text(base::ByteView(buffer).first(got));
  }
}

}  // namespace support
