#include "image/tar_header.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/printable.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

struct Field {
  std::size_t at;
  std::size_t length;
};

constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kTime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kType = 156;
constexpr Field kLinkTarget{157, 100};
constexpr Field kMagic{257, 8};
constexpr Field kMajor{329, 8};
constexpr Field kMinor{337, 8};
constexpr Field kPrefix{345, 155};

Error bad(const std::string& what) {
  return {ErrorCode::kImageInvalid, "not a readable tar archive: " + what};
}

std::string_view raw(base::ByteView block, Field field) {
  return base::as_text(block.subspan(field.at, field.length));
}

std::string text(base::ByteView block, Field field) {
  const std::string_view all = raw(block, field);
  return std::string(all.substr(0, all.find('\0')));
}

/// Octal digits between spaces and zeros, or a binary number whose first bit is set.
Result<std::int64_t> number(base::ByteView block, Field field) {
  const base::ByteView bytes = block.subspan(field.at, field.length);
  if ((bytes[0] & 0x80U) != 0) {
    const bool negative = (bytes[0] & 0x40U) != 0;
    std::uint64_t value = negative ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const std::uint64_t byte =
          i == 0 ? (negative ? bytes[0] | 0x80U : bytes[0] & 0x7FU) : bytes[i];
      const std::uint64_t top = value >> 55U;
      if (top != (negative ? 0x1FFU : 0U)) {
        return bad("a number in a header is too large");
      }
      value = (value << 8U) | byte;
    }
    return static_cast<std::int64_t>(value);
  }
  std::string_view digits = base::as_text(bytes);
  while (!digits.empty() && (digits.front() == ' ' || digits.front() == '\0')) {
    digits.remove_prefix(1);
  }
  digits = digits.substr(0, digits.find_first_of(std::string_view(" \0", 2)));
  std::int64_t value = 0;
  if (digits.empty()) {
    return value;
  }
  const auto [end, problem] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  if (problem != std::errc() || end != digits.data() + digits.size() || value < 0) {
    return bad("a number in a header is not octal: " + base::printable(digits));
  }
  return value;
}

Result<std::uint64_t> positive(base::ByteView block, Field field, const char* what) {
  OU_TRY(const std::int64_t value, number(block, field));
  if (value < 0) {
    return bad(std::string(what) + " in a header is negative");
  }
  return static_cast<std::uint64_t>(value);
}

base::Status check_sum(base::ByteView block) {
  OU_TRY(const std::int64_t expected, number(block, kChecksum));
  std::int64_t as_unsigned = 0;
  std::int64_t as_signed = 0;  // what some old programs wrote
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool inside = i >= kChecksum.at && i < kChecksum.at + kChecksum.length;
    const std::uint8_t byte = inside ? ' ' : block[i];
    as_unsigned += byte;
    as_signed += static_cast<std::int8_t>(byte);
  }
  if (expected != as_unsigned && expected != as_signed) {
    return bad("a header's checksum is wrong");
  }
  return base::ok();
}

}  // namespace

Result<TarHeader> parse_tar_header(base::ByteView block) {
  OU_CHECK(check_sum(block));
  TarHeader header{};
  header.type = static_cast<char>(block[kType]);
  header.name = text(block, kName);
  header.link_target = text(block, kLinkTarget);
  OU_TRY(header.mode, positive(block, kMode, "the mode"));
  OU_TRY(header.uid, positive(block, kUid, "the owner"));
  OU_TRY(header.gid, positive(block, kGid, "the group"));
  OU_TRY(header.size_bytes, positive(block, kSize, "the size"));
  OU_TRY(header.mtime_seconds, number(block, kTime));
  const std::string_view magic = raw(block, kMagic);
  if (magic.starts_with("ustar")) {
    if (header.type == '3' || header.type == '4') {
      OU_TRY(header.device_major, positive(block, kMajor, "a device number"));
      OU_TRY(header.device_minor, positive(block, kMinor, "a device number"));
    }
    const bool gnu = magic == std::string_view("ustar  \0", 8);
    const std::string prefix = gnu ? "" : text(block, kPrefix);
    if (!prefix.empty()) {
      header.name = prefix + "/" + header.name;
    }
  }
  return header;
}

Result<PaxRecords> parse_pax_records(std::string_view text) {
  PaxRecords records;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) {
      return bad("a PAX record has no length");
    }
    OU_TRY(const std::uint64_t length, parse_decimal(text.substr(0, space)));
    if (length <= space + 2 || length > text.size() || text[length - 1] != '\n') {
      return bad("a PAX record has a wrong length");
    }
    const std::string_view record = text.substr(space + 1, length - space - 2);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return bad("a PAX record has no name");
    }
    records.emplace_back(record.substr(0, equals), record.substr(equals + 1));
    text.remove_prefix(length);
  }
  return records;
}

Result<std::pair<std::int64_t, std::uint32_t>> parse_pax_time(std::string_view text) {
  const std::size_t dot = text.find('.');
  std::string_view whole = text.substr(0, dot);
  const bool negative = whole.starts_with('-');
  if (negative) {
    whole.remove_prefix(1);
  }
  OU_TRY(const std::uint64_t seconds, parse_decimal(whole));
  std::string digits(dot == std::string_view::npos ? "" : text.substr(dot + 1));
  digits.resize(9, '0');
  OU_TRY(const std::uint64_t nanoseconds, parse_decimal(digits));
  if (seconds > std::numeric_limits<std::int64_t>::max()) {
    return bad("a time is out of range");
  }
  // A time before 1970 becomes 1970 for engines whatever its fraction says.
  return std::pair(
      negative ? -static_cast<std::int64_t>(seconds) : static_cast<std::int64_t>(seconds),
      static_cast<std::uint32_t>(nanoseconds));
}

Result<std::uint64_t> parse_decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || problem != std::errc() || end != text.data() + text.size()) {
    return bad("not a number: " + base::printable(text));
  }
  return value;
}

}  // namespace image
