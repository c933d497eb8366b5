#include "oci/decoder.hpp"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>

#include "base/handle.hpp"
#include "oci/decoder_input.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;

Error truncated(std::string_view what) {
  return Error(ErrorCode::kImageInvalid,
               std::string(what) + " data ends too early: the file is incomplete, copy it again");
}

class GzipDecoder final : public ByteSource {
 public:
  explicit GzipDecoder(std::unique_ptr<ByteSource> source) : input_(std::move(source)) {}
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;
  ~GzipDecoder() override {
    if (started_) {
      inflateEnd(&stream_);
    }
  }

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (buffer.empty()) {
      return std::size_t{0};
    }
    OU_CHECK(start());
    for (;;) {
      OU_CHECK(input_.refill());
      if (!in_member_) {
        if (input_.at_end()) {
          return std::size_t{0};
        }
        inflateReset(&stream_);
        in_member_ = true;
      }
      OU_TRY(const std::size_t produced, inflate_some(buffer));
      if (produced > 0) {
        return produced;
      }
      if (in_member_ && input_.at_end()) {
        return truncated("gzip");
      }
    }
  }

 private:
  base::Status start() {
    constexpr int kGzipOnly = 16;
    if (!started_ && inflateInit2(&stream_, MAX_WBITS + kGzipOnly) != Z_OK) {
      return Error(ErrorCode::kInternal, "zlib does not start");
    }
    started_ = true;
    return base::ok();
  }

  base::Result<std::size_t> inflate_some(std::span<std::uint8_t> buffer) {
    const base::ByteView rest = input_.rest();
    const auto room =
        static_cast<uInt>(std::min<std::size_t>(buffer.size(), std::numeric_limits<uInt>::max()));
    // zlib's interface lacks a const; it does not write there.
    stream_.next_in =
        const_cast<Bytef*>(rest.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
    stream_.avail_in = static_cast<uInt>(rest.size());
    stream_.next_out = buffer.data();
    stream_.avail_out = room;
    const int outcome = inflate(&stream_, Z_NO_FLUSH);
    input_.use(rest.size() - stream_.avail_in);
    if (outcome == Z_STREAM_END) {
      in_member_ = false;
    } else if (outcome != Z_OK && outcome != Z_BUF_ERROR) {
      return Error(ErrorCode::kImageInvalid,
                   std::string("bad gzip data: ") +
                       (stream_.msg == nullptr ? "not decodable" : stream_.msg));
    }
    return std::size_t{room - stream_.avail_out};
  }

  DecoderInput input_;
  z_stream stream_{};
  bool started_ = false;
  bool in_member_ = true;  // an empty file is no gzip file
};

class ZstdDecoder final : public ByteSource {
 public:
  ZstdDecoder(std::unique_ptr<ByteSource> source, int max_window_log)
      : input_(std::move(source)), context_(ZSTD_createDCtx()), max_window_log_(max_window_log) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (buffer.empty()) {
      return std::size_t{0};
    }
    OU_CHECK(start());
    for (;;) {
      OU_CHECK(input_.refill());
      if (!in_frame_ && input_.at_end()) {
        return std::size_t{0};
      }
      OU_TRY(const std::size_t produced, decode_some(buffer));
      if (produced > 0) {
        return produced;
      }
      if (in_frame_ && input_.at_end()) {
        return truncated("zstd");
      }
    }
  }

 private:
  base::Status start() {
    // libzstd takes parameters only between frames.
    if (!started_ &&
        (!context_ || ZSTD_isError(ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax,
                                                          max_window_log_)) != 0U)) {
      return Error(ErrorCode::kInternal, "libzstd does not start");
    }
    started_ = true;
    return base::ok();
  }

  base::Result<std::size_t> decode_some(std::span<std::uint8_t> buffer) {
    ZSTD_inBuffer in{input_.rest().data(), input_.rest().size(), 0};
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    const std::size_t outcome = ZSTD_decompressStream(context_.get(), &out, &in);
    if (ZSTD_isError(outcome) != 0U) {
      if (ZSTD_getErrorCode(outcome) == ZSTD_error_frameParameter_windowTooLarge) {
        return Error(ErrorCode::kImageInvalid,
                     "zstd data needs a window of more than " +
                         std::to_string((std::uint64_t{1} << max_window_log_) >> 20U) +
                         " MiB; compress it without --long and with a level of at most 19");
      }
      return Error(ErrorCode::kImageInvalid,
                   std::string("bad zstd data: ") + ZSTD_getErrorName(outcome));
    }
    input_.use(in.pos);
    in_frame_ = outcome != 0;
    return out.pos;
  }

  DecoderInput input_;
  base::Handle<ZSTD_DCtx, ZSTD_freeDCtx> context_;
  int max_window_log_;
  bool started_ = false;
  bool in_frame_ = true;  // an empty file is no zstd file
};

// Gives back bytes that were read to look at them, then goes on with the source.
class Replayed final : public ByteSource {
 public:
  Replayed(base::Bytes first, std::unique_ptr<ByteSource> source)
      : first_(std::move(first)), rest_(first_), source_(std::move(source)) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (rest_.empty()) {
      return source_->read(buffer);
    }
    const std::size_t count = std::min(buffer.size(), rest_.size());
    std::copy_n(rest_.begin(), count, buffer.begin());
    rest_ = rest_.subspan(count);
    return count;
  }

 private:
  base::Bytes first_;
  base::ByteView rest_;
  std::unique_ptr<ByteSource> source_;
};

}  // namespace

std::string_view name_of(Encoding encoding) {
  switch (encoding) {
    case Encoding::kNone:
      return "none";
    case Encoding::kGzip:
      return "gzip";
    case Encoding::kZstd:
      return "zstd";
  }
  return "unknown";
}

base::Result<Encoding> parse_encoding(std::string_view text) {
  for (const Encoding encoding : {Encoding::kNone, Encoding::kGzip, Encoding::kZstd}) {
    if (text == name_of(encoding)) {
      return encoding;
    }
  }
  return Error(ErrorCode::kManifestField, "an encoding must be none, gzip or zstd");
}

Encoding sniff_encoding(base::ByteView first_bytes) {
  const auto starts_with = [first_bytes](base::ByteView magic) {
    return first_bytes.size() >= magic.size() &&
           std::equal(magic.begin(), magic.end(), first_bytes.begin());
  };
  constexpr std::array<std::uint8_t, 2> kGzipMagic{0x1F, 0x8B};
  constexpr std::array<std::uint8_t, 4> kZstdMagic{0x28, 0xB5, 0x2F, 0xFD};
  constexpr std::array<std::uint8_t, 3> kSkippableMagic{0x2A, 0x4D, 0x18};  // after 0x50 to 0x5F
  if (starts_with(kGzipMagic)) {
    return Encoding::kGzip;
  }
  const bool skippable =
      first_bytes.size() >= 4 && (first_bytes[0] & 0xF0U) == 0x50U &&
      std::equal(kSkippableMagic.begin(), kSkippableMagic.end(), first_bytes.begin() + 1);
  return starts_with(kZstdMagic) || skippable ? Encoding::kZstd : Encoding::kNone;
}

std::unique_ptr<ByteSource> open_decoder(std::unique_ptr<ByteSource> source, Encoding encoding,
                                         int max_window_log) {
  switch (encoding) {
    case Encoding::kNone:
      return source;
    case Encoding::kGzip:
      return std::make_unique<GzipDecoder>(std::move(source));
    case Encoding::kZstd:
      return std::make_unique<ZstdDecoder>(std::move(source), max_window_log);
  }
  return source;
}

base::Result<std::unique_ptr<ByteSource>> open_decoder(std::unique_ptr<ByteSource> source) {
  base::Bytes first(4);
  std::size_t have = 0;
  while (have < first.size()) {
    OU_TRY(const std::size_t got, source->read(std::span(first).subspan(have)));
    if (got == 0) {
      break;
    }
    have += got;
  }
  first.resize(have);
  const Encoding encoding = sniff_encoding(first);
  return open_decoder(std::make_unique<Replayed>(std::move(first), std::move(source)), encoding);
}

}  // namespace oci
