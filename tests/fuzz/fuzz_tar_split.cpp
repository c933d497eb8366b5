// Any text as the record of a layer (tar-split), compressed here as an engine does: with files that
// have every size, and with files that are shorter than they should be.
#include <zlib.h>

#include "fuzz/fuzz_input.hpp"
#include "image/tar_split.hpp"

namespace {

constexpr std::uint64_t kMaxFile = std::uint64_t{1} << 20U;

base::Bytes gzip(base::ByteView bytes) {
  z_stream stream{};
  constexpr int kGzip = 16;
  fuzz::must(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + kGzip, 8,
                          Z_DEFAULT_STRATEGY) == Z_OK);
  base::Bytes packed(deflateBound(&stream, bytes.size()));
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  fuzz::must(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

class Files final : public image::LayerContent {
 public:
  base::Result<std::unique_ptr<oci::ByteSource>> open(const std::string& name,
                                                      std::uint64_t size_bytes) override {
    const auto parts = image::split_layer_path(name);
    if (!parts) {
      return parts.error();
    }
    for (const std::string_view part : *parts) {
      fuzz::must(!part.empty() && part != "." && part != ".." &&
                 part.find('/') == std::string_view::npos &&
                 part.find('\0') == std::string_view::npos);
    }
    return std::make_unique<fuzz::BytesSource>(
        base::ByteView(zeros_).first(std::min(size_bytes, kMaxFile)));
  }

 private:
  base::Bytes zeros_ = base::Bytes(kMaxFile, 0);
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const base::Bytes packed = gzip({data, size});
  const auto archive =
      image::open_tar_split(std::make_unique<fuzz::BytesSource>(packed), std::make_unique<Files>());
  fuzz::read_some(*archive, std::size_t{8} << 20U);
  return 0;
}
