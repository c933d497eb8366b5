// What a decoder has read from its source and not used yet.
#pragma once

#include <memory>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "oci/byte_source.hpp"

namespace oci {

class DecoderInput {
 public:
  explicit DecoderInput(std::unique_ptr<ByteSource> source)
      : source_(std::move(source)), buffer_(kBufferBytes) {}

  /// Makes sure that there is something unless the source is at its end.
  base::Status refill() {
    if (!rest_.empty() || at_end_) {
      return base::ok();
    }
    OU_TRY(const std::size_t got, source_->read(buffer_));
    rest_ = base::ByteView(buffer_).first(got);
    at_end_ = got == 0;
    return base::ok();
  }
  [[nodiscard]] base::ByteView rest() const { return rest_; }
  /// Nothing is left, here or in the source.
  [[nodiscard]] bool at_end() const { return at_end_; }
  void use(std::size_t count) { rest_ = rest_.subspan(count); }

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{128} * 1024;
  std::unique_ptr<ByteSource> source_;
  base::Bytes buffer_;
  base::ByteView rest_;
  bool at_end_ = false;
};

}  // namespace oci
