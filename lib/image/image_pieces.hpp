// A disk image in pieces for a writer: read, searched for zeros and hashed in a thread of its own,
// a bounded number of pieces ahead. Private to this library.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "base/sha256.hpp"
#include "image/block_target.hpp"
#include "image/image_stream.hpp"

namespace image {

inline constexpr std::size_t kPieceBytes = std::size_t{4} << 20U;
inline constexpr std::size_t kGranuleBytes = std::size_t{256} << 10U;  // zeros are told by these
inline constexpr std::uint64_t kMaxZeroPieceBytes = std::uint64_t{64} << 20U;

struct Piece {
  std::uint64_t at = 0;
  std::uint64_t length = 0;              // in whole blocks; the image's end is filled with zeros
  std::uint64_t image_bytes = 0;         // what of that is the image's
  std::uint64_t file_read_bytes = 0;     // of the image's file, by now
  AlignedBuffer* buffer = nullptr;       // nullptr: all zeros
  std::uint32_t zero_granules = 0;       // bit i: granule i is all zeros
  std::optional<base::Sha256Hash> hash;  // of all its bytes
};

/// Where pieces end besides every kPieceBytes, and where the drive does.
struct PieceBounds {
  std::uint64_t head_end;
  std::uint64_t tail_at;
  std::uint64_t drive_bytes;
  std::uint32_t block_bytes;
};

class ImagePieces {
 public:
  /// \param image outlives this, and is read by nobody else meanwhile
  ImagePieces(ImageStream& image, const PieceBounds& bounds, bool hash);
  ImagePieces(const ImagePieces&) = delete;
  ImagePieces& operator=(const ImagePieces&) = delete;
  /// Stops reading.
  ~ImagePieces();

  /// The next piece; nothing at the end. Its buffer is the caller's until give_back().
  /// \error ErrorCode::kNoSpace when the image is larger than the drive; those of the image
  base::Result<std::optional<Piece>> next();
  void give_back(const Piece& piece);

 private:
  static constexpr std::size_t kBuffers = 4;

  void run();
  base::Result<std::optional<Piece>> read_piece(AlignedBuffer& buffer);
  base::Result<std::size_t> fill(std::span<std::uint8_t> buffer);
  [[nodiscard]] std::uint64_t room() const;
  base::Result<std::optional<Piece>> at_drive_end();
  AlignedBuffer* take_buffer();

  ImageStream& image_;
  const PieceBounds bounds_;
  const bool hash_;
  std::uint64_t at_ = 0;
  std::uint64_t hole_bytes_ = 0;  // that were passed over and are not in a piece yet

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<AlignedBuffer> buffers_;
  std::deque<AlignedBuffer*> free_;
  std::deque<base::Result<std::optional<Piece>>> ready_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace image
