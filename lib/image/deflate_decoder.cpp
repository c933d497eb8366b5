// Raw deflate data, which carries neither a length nor a checksum: zip keeps both elsewhere.
#include <zlib.h>

#include <algorithm>
#include <limits>

#include "image/decoders.hpp"
#include "oci/decoder_input.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;

class DeflateDecoder final : public oci::ByteSource {
 public:
  explicit DeflateDecoder(std::unique_ptr<oci::ByteSource> source) : input_(std::move(source)) {}
  DeflateDecoder(const DeflateDecoder&) = delete;
  DeflateDecoder& operator=(const DeflateDecoder&) = delete;
  ~DeflateDecoder() override {
    if (started_) {
      inflateEnd(&stream_);
    }
  }

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (!started_ && inflateInit2(&stream_, -MAX_WBITS) != Z_OK) {
      return Error(ErrorCode::kInternal, "zlib does not start");
    }
    started_ = true;
    while (!ended_ && !buffer.empty()) {
      OU_CHECK(input_.refill());
      OU_TRY(const std::size_t produced, inflate_some(buffer));
      if (produced > 0) {
        return produced;
      }
      if (!ended_ && input_.at_end()) {
        return Error(ErrorCode::kDiskImage,
                     "compressed data ends too early: the file is incomplete, download it again");
      }
    }
    OU_CHECK(input_.refill());
    if (ended_ && !input_.rest().empty()) {
      return Error(ErrorCode::kDiskImage, "there is something after the end of compressed data");
    }
    return std::size_t{0};
  }

 private:
  base::Result<std::size_t> inflate_some(std::span<std::uint8_t> buffer) {
    constexpr std::size_t kMost = std::numeric_limits<uInt>::max();
    const base::ByteView rest = input_.rest();
    const auto room = static_cast<uInt>(std::min(buffer.size(), kMost));
    stream_.next_in = const_cast<Bytef*>(rest.data());  // zlib does not write there
    stream_.avail_in = static_cast<uInt>(rest.size());
    stream_.next_out = buffer.data();
    stream_.avail_out = room;
    const int outcome = inflate(&stream_, Z_NO_FLUSH);
    input_.use(rest.size() - stream_.avail_in);
    if (outcome == Z_STREAM_END) {
      ended_ = true;
    } else if (outcome != Z_OK && outcome != Z_BUF_ERROR) {
      return Error(ErrorCode::kDiskImage, "bad compressed data: download the file again");
    }
    return std::size_t{room - stream_.avail_out};
  }

  oci::DecoderInput input_;
  z_stream stream_{};
  bool started_ = false;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<oci::ByteSource> open_deflate(std::unique_ptr<oci::ByteSource> source) {
  return std::make_unique<DeflateDecoder>(std::move(source));
}

}  // namespace image
