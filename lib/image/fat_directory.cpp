#include "image/fat_directory.hpp"

#include <array>
#include <chrono>

#include "image/little_endian.hpp"
#include "image/utf16.hpp"

namespace image {
namespace {

using base::ByteView;

constexpr std::size_t kEntryBytes = 32;
constexpr std::uint8_t kEnd = 0x00;
constexpr std::uint8_t kRemoved = 0xE5;
constexpr std::uint8_t kEscapedE5 = 0x05;
constexpr std::uint8_t kVolumeLabel = 0x08;
constexpr std::uint8_t kDirectory = 0x10;
constexpr std::uint8_t kLongName = 0x0F;
constexpr unsigned kMaxPieces = 20;

std::uint8_t checksum(ByteView short_name) {
  std::uint8_t sum = 0;
  for (const std::uint8_t byte : short_name) {
    sum = static_cast<std::uint8_t>((sum >> 1U | sum << 7U) + byte);
  }
  return sum;
}

/// Long names come in pieces, the last piece first, in front of the entry that they are for.
class LongName {
 public:
  void add(ByteView entry) {
    const unsigned number = entry[0] & 0x3FU;
    if ((entry[0] & 0x40U) != 0) {
      clear();
      checksum_ = entry[13];
      expected_ = number;
    }
    if (number == 0 || number > kMaxPieces || number != expected_ || entry[13] != checksum_) {
      clear();
      return;
    }
    base::Bytes piece;
    for (const auto& [at, size] : {std::pair{1U, 10U}, {14U, 12U}, {28U, 4U}}) {
      const ByteView part = entry.subspan(at, size);
      piece.insert(piece.end(), part.begin(), part.end());
    }
    units_.insert(units_.begin(), piece.begin(), piece.end());
    --expected_;
    complete_ = expected_ == 0;
  }

  /// The name, if all of it was there and it is for this entry.
  std::string take(ByteView short_name) {
    std::string name;
    if (complete_ && checksum(short_name) == checksum_) {
      name = from_utf16(units_);
    }
    clear();
    return name;
  }

  void clear() {
    units_.clear();
    expected_ = 0;
    complete_ = false;
  }

 private:
  base::Bytes units_;
  unsigned expected_ = 0;
  std::uint8_t checksum_ = 0;
  bool complete_ = false;
};

/// Eight or three characters without the spaces behind them. What is not ASCII depends on a code
/// page that nobody knows, and becomes "_".
std::string short_part(ByteView raw, bool lower) {
  std::string text;
  for (const std::uint8_t byte : raw) {
    const bool upper = byte >= 'A' && byte <= 'Z';
    text.push_back(byte >= 0x80 ? '_' : static_cast<char>(lower && upper ? byte + 32 : byte));
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string short_name(ByteView entry, std::uint8_t case_flags) {
  std::array<std::uint8_t, 11> raw{};
  std::copy_n(entry.begin(), raw.size(), raw.begin());
  raw[0] = raw[0] == kEscapedE5 ? kRemoved : raw[0];
  const std::string stem = short_part(ByteView(raw).first(8), (case_flags & 0x08U) != 0);
  const std::string extension = short_part(ByteView(raw).subspan(8), (case_flags & 0x10U) != 0);
  return extension.empty() ? stem : stem + "." + extension;
}

std::int64_t seconds_of(std::uint16_t date, std::uint16_t time) {
  using namespace std::chrono;
  const unsigned month_number = (date >> 5U) & 15U;
  if (month_number < 1 || month_number > 12 || (date & 31U) == 0) {
    return 0;  // no time at all
  }
  const auto day =
      sys_days(year(1980 + (date >> 9U)) / month(month_number) / std::chrono::day(date & 31U));
  const auto since = day.time_since_epoch() + hours(time >> 11U) + minutes((time >> 5U) & 63U) +
                     seconds((time & 31U) * 2);
  return duration_cast<seconds>(since).count();
}

FatNode node_of(ByteView entry, FatKind kind, std::string long_name) {
  FatNode node;
  node.short_name = short_name(entry, 0);
  node.name = long_name.empty() ? short_name(entry, entry[12]) : std::move(long_name);
  node.directory = (entry[11] & kDirectory) != 0;
  node.size_bytes = node.directory ? 0 : load_le<std::uint32_t>(entry, 28);
  node.first_cluster = load_le<std::uint16_t>(entry, 26);
  if (kind == FatKind::kFat32) {
    node.first_cluster |= std::uint32_t{load_le<std::uint16_t>(entry, 20)} << 16U;
  }
  node.modified_seconds =
      seconds_of(load_le<std::uint16_t>(entry, 24), load_le<std::uint16_t>(entry, 22));
  return node;
}

}  // namespace

std::vector<FatNode> parse_fat_directory(ByteView content, FatKind kind) {
  std::vector<FatNode> nodes;
  LongName long_name;
  for (std::size_t at = 0; at + kEntryBytes <= content.size(); at += kEntryBytes) {
    const ByteView entry = content.subspan(at, kEntryBytes);
    if (entry[0] == kEnd) {
      break;
    }
    if (entry[0] != kRemoved && (entry[11] & 0x3FU) == kLongName) {
      long_name.add(entry);
      continue;
    }
    const bool dots = entry[0] == '.' && (entry[1] == ' ' || entry[1] == '.');
    if (entry[0] == kRemoved || dots || (entry[11] & kVolumeLabel) != 0) {
      long_name.clear();
      continue;
    }
    nodes.push_back(node_of(entry, kind, long_name.take(entry.first(11))));
  }
  return nodes;
}

}  // namespace image
