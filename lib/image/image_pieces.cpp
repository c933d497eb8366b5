#include "image/image_pieces.hpp"

#include <algorithm>
#include <cstring>

#include "base/sizes.hpp"

namespace image {

using base::Error;
using base::ErrorCode;
using base::Result;

ImagePieces::ImagePieces(ImageStream& image, const PieceBounds& bounds, bool hash)
    : image_(image), bounds_(bounds), hash_(hash) {
  buffers_.reserve(kBuffers);
  for (std::size_t i = 0; i < kBuffers; ++i) {
    buffers_.emplace_back(kPieceBytes);
    free_.push_back(&buffers_.back());
  }
  thread_ = std::thread([this] { run(); });
}

ImagePieces::~ImagePieces() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<std::optional<Piece>> ImagePieces::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty(); });
  auto piece = std::move(ready_.front());
  if (piece && *piece) {
    ready_.pop_front();
    changed_.notify_all();
  } else {
    ready_.front() = piece;  // the end stays the end
  }
  return piece;
}

void ImagePieces::give_back(const Piece& piece) {
  if (piece.buffer == nullptr) {
    return;
  }
  const std::lock_guard lock(mutex_);
  free_.push_back(piece.buffer);
  changed_.notify_all();
}

AlignedBuffer* ImagePieces::take_buffer() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock,
                [this] { return stopped_ || (!free_.empty() && ready_.size() < 2 * kBuffers); });
  if (stopped_) {
    return nullptr;
  }
  AlignedBuffer* buffer = free_.front();
  free_.pop_front();
  return buffer;
}

void ImagePieces::run() {
  for (bool more = true; more;) {
    AlignedBuffer* buffer = take_buffer();
    if (buffer == nullptr) {
      return;
    }
    auto piece = read_piece(*buffer);
    more = piece && *piece;
    const std::lock_guard lock(mutex_);
    if (!more || (*piece)->buffer == nullptr) {
      free_.push_back(buffer);
    }
    ready_.push_back(std::move(piece));
    changed_.notify_all();
  }
}

std::uint64_t ImagePieces::room() const {
  const std::uint64_t bound = at_ < bounds_.head_end  ? bounds_.head_end
                              : at_ < bounds_.tail_at ? bounds_.tail_at
                                                      : bounds_.drive_bytes;
  return std::min(bound, bounds_.drive_bytes) - at_;
}

Result<std::size_t> ImagePieces::fill(std::span<std::uint8_t> buffer) {
  std::size_t have = 0;
  while (have < buffer.size()) {
    if (hole_bytes_ == 0) {
      OU_TRY(hole_bytes_, image_.skip_hole());
    }
    const std::span<std::uint8_t> rest = buffer.subspan(have);
    if (hole_bytes_ > 0) {
      const auto zeros =
          static_cast<std::size_t>(std::min<std::uint64_t>(hole_bytes_, rest.size()));
      std::memset(rest.data(), 0, zeros);
      hole_bytes_ -= zeros;
      have += zeros;
      continue;
    }
    OU_TRY(const std::size_t got, image_.read(rest));
    if (got == 0) {
      break;
    }
    have += got;
  }
  return have;
}

Result<std::optional<Piece>> ImagePieces::at_drive_end() {
  std::array<std::uint8_t, 1> one_more{};
  OU_TRY(const std::size_t got, fill(one_more));
  if (got > 0) {
    return Error(ErrorCode::kNoSpace, "the image is larger than the drive, which has " +
                                          std::to_string(bounds_.drive_bytes) +
                                          " bytes; take a larger one");
  }
  return std::optional<Piece>();
}

Result<std::optional<Piece>> ImagePieces::read_piece(AlignedBuffer& buffer) {
  const std::uint64_t space = room();
  if (space == 0) {
    return at_drive_end();
  }
  if (hole_bytes_ == 0) {
    OU_TRY(hole_bytes_, image_.skip_hole());
  }
  Piece piece{.at = at_};
  const std::uint64_t zeros =
      std::min({hole_bytes_, space, kMaxZeroPieceBytes}) / kGranuleBytes * kGranuleBytes;
  if (zeros > 0) {
    hole_bytes_ -= zeros;
    piece.length = piece.image_bytes = zeros;
  } else {
    const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(space, kPieceBytes));
    OU_TRY(const std::size_t got, fill(buffer.span().first(most)));
    if (got == 0) {
      return std::optional<Piece>();
    }
    piece.image_bytes = got;
    piece.length = base::in_blocks(got, bounds_.block_bytes);
    const auto bytes = buffer.span().first(piece.length);
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(got), bytes.end(), std::uint8_t{0});
    std::size_t granules = 0;
    std::size_t zero_granules = 0;
    for (std::size_t at = 0; at < bytes.size(); at += kGranuleBytes, ++granules) {
      if (is_all_zero(bytes.subspan(at, std::min(kGranuleBytes, bytes.size() - at)))) {
        piece.zero_granules |= 1U << granules;
        ++zero_granules;
      }
    }
    if (zero_granules < granules) {
      piece.buffer = &buffer;
      if (hash_) {
        base::Sha256 hash;
        hash.update(bytes);
        piece.hash = hash.finish();
      }
    }
  }
  piece.file_read_bytes = image_.file_read_bytes();
  at_ += piece.length;
  return std::optional(piece);
}

}  // namespace image
