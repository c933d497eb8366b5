// bzip2 through libbz2: at most 4 MB of memory, whatever the file says.
#include <bzlib.h>

#include <algorithm>
#include <limits>

#include "image/decoders.hpp"
#include "oci/decoder_input.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;

class Bzip2Decoder final : public oci::ByteSource {
 public:
  explicit Bzip2Decoder(std::unique_ptr<oci::ByteSource> source) : input_(std::move(source)) {}
  Bzip2Decoder(const Bzip2Decoder&) = delete;
  Bzip2Decoder& operator=(const Bzip2Decoder&) = delete;
  ~Bzip2Decoder() override { end_stream(); }

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (buffer.empty()) {
      return std::size_t{0};
    }
    for (;;) {
      OU_CHECK(input_.refill());
      if (!in_stream_) {
        if (input_.at_end() && !first_) {
          return std::size_t{0};
        }
        OU_CHECK(start_stream());
      }
      OU_TRY(const std::size_t produced, decode_some(buffer));
      if (produced > 0) {
        return produced;
      }
      if (in_stream_ && input_.at_end()) {
        return Error(ErrorCode::kDiskImage,
                     "bzip2 data ends too early: the file is incomplete, download it again");
      }
    }
  }

 private:
  base::Status start_stream() {
    stream_ = {};
    if (BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) {
      return Error(ErrorCode::kInternal, "libbz2 does not start");
    }
    in_stream_ = true;
    return base::ok();
  }

  void end_stream() {
    if (in_stream_) {
      BZ2_bzDecompressEnd(&stream_);
      in_stream_ = false;
    }
  }

  base::Result<std::size_t> decode_some(std::span<std::uint8_t> buffer) {
    constexpr std::size_t kMost = std::numeric_limits<unsigned>::max();
    const base::ByteView rest = input_.rest();
    const auto room = static_cast<unsigned>(std::min(buffer.size(), kMost));
    // libbz2's interface is of char, and lacks a const; it does not write there.
    stream_.next_in = reinterpret_cast<char*>(const_cast<std::uint8_t*>(rest.data()));
    stream_.avail_in = static_cast<unsigned>(rest.size());
    stream_.next_out = reinterpret_cast<char*>(buffer.data());
    stream_.avail_out = room;
    const int outcome = BZ2_bzDecompress(&stream_);
    input_.use(rest.size() - stream_.avail_in);
    const std::size_t produced = room - stream_.avail_out;
    if (outcome == BZ_DATA_ERROR_MAGIC && !first_) {
      return Error(ErrorCode::kDiskImage,
                   "there is something after the end of the bzip2 data: download the file again");
    }
    if (outcome == BZ_STREAM_END) {
      first_ = false;
      end_stream();
    } else if (outcome != BZ_OK) {
      return Error(outcome == BZ_MEM_ERROR ? ErrorCode::kInternal : ErrorCode::kDiskImage,
                   outcome == BZ_MEM_ERROR ? "no memory for bzip2 data"
                                           : "bad bzip2 data: download the file again");
    }
    return produced;
  }

  oci::DecoderInput input_;
  bz_stream stream_{};
  bool in_stream_ = false;
  bool first_ = true;  // an empty file is no bzip2 file
};

}  // namespace

std::unique_ptr<oci::ByteSource> open_bzip2(std::unique_ptr<oci::ByteSource> source) {
  return std::make_unique<Bzip2Decoder>(std::move(source));
}

}  // namespace image
