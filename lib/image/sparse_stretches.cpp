#include "image/sparse_stretches.hpp"

#include <unistd.h>

#include <algorithm>

namespace image {
namespace {

using base::Result;

constexpr std::uint64_t kUnitBytes = 64 * 1024;
constexpr std::uint64_t kPieceBytes = 16 * kUnitBytes;

/// The first byte from `at` on that is in no hole, rounded down to a unit.
std::uint64_t next_data(const BlockRange& range, std::uint64_t at) {
  const off_t found =
      ::lseek(range.fd()->get(), static_cast<off_t>(range.offset_bytes() + at), SEEK_DATA);
  if (found < 0) {
    // Nothing but a hole up to the end, or a file system that does not say.
    return errno == ENXIO ? range.size_bytes() : at;
  }
  const std::uint64_t data = static_cast<std::uint64_t>(found) - range.offset_bytes();
  return std::max(at, std::min(data / kUnitBytes * kUnitBytes, range.size_bytes()));
}

class StretchSource final : public oci::ByteSource {
 public:
  StretchSource(const BlockRange& range, const std::vector<Stretch>& stretches)
      : range_(range), stretches_(stretches) {}

  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    if (index_ == stretches_.size() || buffer.empty()) {
      return std::size_t{0};
    }
    const Stretch& stretch = stretches_[index_];
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(buffer.size(), stretch.size_bytes - done_));
    OU_CHECK(range_.read(stretch.at + done_, buffer.first(count)));
    done_ += count;
    if (done_ == stretch.size_bytes) {
      ++index_;
      done_ = 0;
    }
    return count;
  }

 private:
  const BlockRange& range_;
  const std::vector<Stretch>& stretches_;
  std::size_t index_ = 0;
  std::uint64_t done_ = 0;
};

}  // namespace

Result<std::vector<Stretch>> data_stretches(const BlockRange& range) {
  std::vector<Stretch> stretches;
  base::Bytes piece(kPieceBytes);
  std::uint64_t at = 0;
  while ((at = next_data(range, at)) < range.size_bytes()) {
    const auto count = static_cast<std::size_t>(std::min(kPieceBytes, range.size_bytes() - at));
    const auto bytes = std::span(piece).first(count);
    OU_CHECK(range.read(at, bytes));
    for (std::size_t done = 0; done < count; done += kUnitBytes) {
      const auto unit = bytes.subspan(done, std::min<std::size_t>(kUnitBytes, count - done));
      if (std::all_of(unit.begin(), unit.end(), [](std::uint8_t byte) { return byte == 0; })) {
        continue;
      }
      if (!stretches.empty() && stretches.back().at + stretches.back().size_bytes == at + done) {
        stretches.back().size_bytes += unit.size();
      } else {
        stretches.push_back({at + done, unit.size()});
      }
    }
    at += count;
  }
  return stretches;
}

std::unique_ptr<oci::ByteSource> open_stretches(const BlockRange& range,
                                                const std::vector<Stretch>& stretches) {
  return std::make_unique<StretchSource>(range, stretches);
}

}  // namespace image
