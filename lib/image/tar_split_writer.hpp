// The record of a layer's archive without the content of its files (tar-split.json.gz), from which
// an engine puts the archive together again, bit for bit.
// \source engine-and-supervisor.md section 7; vbatts/tar-split tar/storage, tar/asm
#pragma once

#include <memory>

#include "image/layer_tar.hpp"

namespace image {

/// What one record may take, compressed: it is kept in memory until the layer is written.
inline constexpr std::size_t kMaxTarSplitBytes = std::size_t{256} * 1024 * 1024;

inline constexpr std::size_t kMaxLayerEntries = 1'000'000;

class TarSplitWriter final : public ArchiveRecord {
 public:
  TarSplitWriter();
  ~TarSplitWriter() override;

  /// \error ErrorCode::kLimitExceeded above kMaxTarSplitBytes
  base::Status raw(base::ByteView bytes) override;
  /// \error ErrorCode::kImageInvalid for a second entry of the same path: engines take none, and
  ///   could not put the archive together again; kLimitExceeded
  base::Status file(const std::string& name, std::uint64_t size_bytes,
                    const std::array<std::uint8_t, 8>& crc64) override;

  /// The whole record: JSON lines in gzip, without a time: the same archive gives the same bytes.
  /// Nothing may be called afterwards.
  base::Result<base::Bytes> finish();

 private:
  struct State;
  base::Status end_segment();
  base::Status line(const std::string& text, int flush);
  std::unique_ptr<State> state_;
};

}  // namespace image
