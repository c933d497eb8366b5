// How an image is cut for a drive: where pieces end, what of them is zero, and what does not fit.
#include "image/image_pieces.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "support/tar_builder.hpp"

using base::ErrorCode;
using image::ImagePieces;
using image::kGranuleBytes;
using image::kPieceBytes;
using image::Piece;
using image::PieceBounds;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

/// Holes and text in turn, as a raw file has them.
class FakeImage final : public image::ImageStream {
 public:
  struct Part {
    std::string text;
    std::uint64_t hole = 0;
  };
  explicit FakeImage(std::vector<Part> parts) : parts_(std::move(parts)) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    while (part_ < parts_.size() && at_ == parts_[part_].text.size() && hole_ == 0) {
      ++part_;
      at_ = 0;
      hole_ = part_ < parts_.size() ? parts_[part_].hole : 0;
    }
    if (part_ == parts_.size()) {
      return std::size_t{0};
    }
    if (hole_ > 0) {
      return base::Error(ErrorCode::kInternal, "a hole was read");
    }
    const std::string& text = parts_[part_].text;
    const std::size_t count = std::min(buffer.size(), text.size() - at_);
    std::copy_n(base::as_bytes(text).begin() + static_cast<std::ptrdiff_t>(at_), count,
                buffer.begin());
    at_ += count;
    return count;
  }
  base::Result<std::uint64_t> skip_hole() override {
    if (part_ == 0 && at_ == 0 && !started_) {
      started_ = true;
      hole_ = parts_[0].hole;
    }
    if (hole_ == 0 && part_ + 1 < parts_.size() && at_ == parts_[part_].text.size()) {
      ++part_;
      at_ = 0;
      hole_ = parts_[part_].hole;
    }
    return std::exchange(hole_, 0);
  }
  [[nodiscard]] image::Compression compression() const override {
    return image::Compression::kNone;
  }
  [[nodiscard]] std::optional<std::uint64_t> size_bytes() const override { return std::nullopt; }
  [[nodiscard]] std::uint64_t file_size_bytes() const override { return 0; }
  [[nodiscard]] std::uint64_t file_read_bytes() const override { return 0; }

 private:
  std::vector<Part> parts_;
  std::size_t part_ = 0;
  std::size_t at_ = 0;
  std::uint64_t hole_ = 0;
  bool started_ = false;
};

PieceBounds bounds(std::uint64_t drive_bytes) {
  return {.head_end = kMiB,
          .tail_at = drive_bytes - kMiB,
          .drive_bytes = drive_bytes,
          .block_bytes = 512};
}

struct Cut {
  std::uint64_t at;
  std::uint64_t length;
  bool zero;
  bool operator==(const Cut& other) const {
    return at == other.at && length == other.length && zero == other.zero;
  }
};

base::Result<std::vector<Cut>> cut(FakeImage& image, const PieceBounds& where) {
  ImagePieces pieces(image, where, true);
  std::vector<Cut> cuts;
  for (;;) {
    OU_TRY(const auto piece, pieces.next());
    if (!piece) {
      return cuts;
    }
    cuts.push_back({piece->at, piece->length, piece->buffer == nullptr});
    pieces.give_back(*piece);
  }
}

}  // namespace

TEST_CASE("image pieces: end where the head of the drive ends and its tail begins") {
  FakeImage image({{.text = support::noise(12 * kMiB)}});
  CHECK(cut(image, bounds(12 * kMiB)).value() == std::vector<Cut>{{0, kMiB, false},
                                                                  {kMiB, kPieceBytes, false},
                                                                  {5 * kMiB, kPieceBytes, false},
                                                                  {9 * kMiB, 2 * kMiB, false},
                                                                  {11 * kMiB, kMiB, false}});
}

TEST_CASE("image pieces: a hole is not read, and its odd end belongs to the data behind it") {
  FakeImage image({{.text = support::noise(2 * kMiB), .hole = 0},
                   {.text = support::noise(kMiB), .hole = 100 * kMiB + 5000}});
  CHECK(cut(image, bounds(200 * kMiB)).value() ==
        std::vector<Cut>{{0, kMiB, false},
                         {kMiB, kPieceBytes, false},  // the rest of the data, and zeros
                         {5 * kMiB, image::kMaxZeroPieceBytes, true},
                         {69 * kMiB, 33 * kMiB, true},
                         {102 * kMiB, kMiB + 5120, false}});
}

TEST_CASE("image pieces: zeros are told by granules; the hash is of all bytes with what fills up") {
  std::string text = support::noise(kMiB) + std::string(kPieceBytes, '\0');
  text += support::noise(kGranuleBytes) + std::string(kGranuleBytes, '\0') + "end";
  FakeImage image({{.text = text}});
  ImagePieces pieces(image, bounds(100 * kMiB), true);
  Piece piece = pieces.next().value().value();
  pieces.give_back(piece);
  piece = pieces.next().value().value();
  CHECK(piece.buffer == nullptr);
  pieces.give_back(piece);
  piece = pieces.next().value().value();
  REQUIRE(piece.buffer != nullptr);
  CHECK(piece.zero_granules == 0b010);
  CHECK(piece.image_bytes == 2 * kGranuleBytes + 3);
  CHECK(piece.length == 2 * kGranuleBytes + 512);
  const std::string filled = text.substr(5 * kMiB) + std::string(509, '\0');
  CHECK(piece.hash == base::sha256(base::as_bytes(filled)));
  CHECK_FALSE(pieces.next().value());
  CHECK_FALSE(pieces.next().value());
}

TEST_CASE("image pieces: an image that is a byte larger than the drive does not fit") {
  FakeImage fits({{.text = support::noise(3 * kMiB)}});
  CHECK(cut(fits, bounds(3 * kMiB)));
  FakeImage image({{.text = support::noise(3 * kMiB + 1)}});
  const auto cuts = cut(image, bounds(3 * kMiB));
  REQUIRE_FALSE(cuts);
  CHECK(cuts.error().code() == ErrorCode::kNoSpace);
}

TEST_CASE("image pieces: a reader that is not wanted any more ends") {
  FakeImage image({{.text = support::noise(40 * kMiB)}});
  ImagePieces pieces(image, bounds(100 * kMiB), false);
  CHECK(pieces.next().value()->length == kMiB);
}
