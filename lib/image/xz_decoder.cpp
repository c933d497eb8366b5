// xz through liblzma, in one thread: the decoder with several threads of liblzma before 5.8.1
// corrupts memory on bad data. \source CVE-2025-31115
#include <lzma.h>

#include <array>

#include "base/files.hpp"
#include "image/decoders.hpp"
#include "oci/decoder_input.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;

/// An lzma_stream that is ended.
struct Stream {
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { lzma_end(&lzma); }
  lzma_stream lzma = LZMA_STREAM_INIT;
};

Error error_of(lzma_ret outcome, bool at_end) {
  switch (outcome) {
    case LZMA_MEMLIMIT_ERROR:
      return Error(ErrorCode::kDiskImage,
                   "xz data needs more than " + std::to_string(kMaxXzMemoryBytes >> 20U) +
                       " MiB of memory; compress it with a level of at most 9");
    case LZMA_MEM_ERROR:
      return Error(ErrorCode::kInternal, "no memory for xz data");
    case LZMA_BUF_ERROR:
      return Error(ErrorCode::kDiskImage,
                   "xz data ends too early: the file is incomplete, download it again");
    case LZMA_OPTIONS_ERROR:
      return Error(ErrorCode::kDiskImage, "xz data uses a filter that is not known");
    default:
      return Error(ErrorCode::kDiskImage,
                   at_end ? "bad xz data, or something after its end: download the file again"
                          : "bad xz data: download the file again");
  }
}

class XzDecoder final : public oci::ByteSource {
 public:
  explicit XzDecoder(std::unique_ptr<oci::ByteSource> source) : input_(std::move(source)) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (!started_ &&
        lzma_stream_decoder(&stream_.lzma, kMaxXzMemoryBytes, LZMA_CONCATENATED) != LZMA_OK) {
      return Error(ErrorCode::kInternal, "liblzma does not start");
    }
    started_ = true;
    while (!ended_ && !buffer.empty()) {
      OU_CHECK(input_.refill());
      const base::ByteView rest = input_.rest();
      lzma_stream& stream = stream_.lzma;
      stream.next_in = rest.data();
      stream.avail_in = rest.size();
      stream.next_out = buffer.data();
      stream.avail_out = buffer.size();
      const lzma_ret outcome = lzma_code(&stream, input_.at_end() ? LZMA_FINISH : LZMA_RUN);
      input_.use(rest.size() - stream.avail_in);
      ended_ = outcome == LZMA_STREAM_END;
      if (outcome != LZMA_OK && !ended_) {
        return error_of(outcome, stream.total_out > 0);
      }
      if (const std::size_t produced = buffer.size() - stream.avail_out; produced > 0) {
        return produced;
      }
    }
    return std::size_t{0};
  }

 private:
  oci::DecoderInput input_;
  Stream stream_;
  bool started_ = false;
  bool ended_ = false;
};

struct FreeIndex {
  void operator()(lzma_index* index) const { lzma_index_end(index, nullptr); }
};

}  // namespace

std::unique_ptr<oci::ByteSource> open_xz(std::unique_ptr<oci::ByteSource> source) {
  return std::make_unique<XzDecoder>(std::move(source));
}

std::optional<std::uint64_t> xz_uncompressed_size(const SharedFd& file, std::uint64_t size_bytes) {
  constexpr std::uint64_t kMaxIndexMemoryBytes = std::uint64_t{64} << 20U;
  Stream stream;
  lzma_index* found = nullptr;
  if (lzma_file_info_decoder(&stream.lzma, &found, kMaxIndexMemoryBytes, size_bytes) != LZMA_OK) {
    return std::nullopt;
  }
  std::array<std::uint8_t, 8192> buffer{};
  std::uint64_t at = 0;
  for (lzma_ret outcome = LZMA_OK; outcome != LZMA_STREAM_END;) {
    if (stream.lzma.avail_in == 0) {
      const auto got = base::read_at(file->get(), buffer, at);
      if (!got) {
        return std::nullopt;
      }
      stream.lzma.next_in = buffer.data();
      stream.lzma.avail_in = *got;
      at += *got;
    }
    outcome = lzma_code(&stream.lzma, stream.lzma.avail_in == 0 ? LZMA_FINISH : LZMA_RUN);
    if (outcome == LZMA_SEEK_NEEDED) {
      at = stream.lzma.seek_pos;
      stream.lzma.avail_in = 0;
    } else if (outcome != LZMA_OK && outcome != LZMA_STREAM_END) {
      return std::nullopt;
    }
  }
  const std::unique_ptr<lzma_index, FreeIndex> index(found);
  return lzma_index_uncompressed_size(index.get());
}

}  // namespace image
