// Strict: a header that is understood by half is not understood.
#include "install/byte_range.hpp"

#include <charconv>

namespace agent::install {
namespace {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped_at, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stopped_at != end) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::optional<ByteRange> parse_range(std::string_view header, std::uint64_t size_bytes) {
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit)) {
    return std::nullopt;
  }
  header.remove_prefix(kUnit.size());
  const auto dash = header.find('-');
  if (dash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto first = parse_number(header.substr(0, dash));
  if (!first || *first >= size_bytes) {
    return std::nullopt;
  }
  const std::uint64_t to_end = size_bytes - *first;
  const auto last_text = header.substr(dash + 1);
  if (last_text.empty()) {
    return ByteRange{*first, to_end};
  }
  const auto last = parse_number(last_text);
  if (!last || *last < *first) {
    return std::nullopt;
  }
  // Compared before one is added: the last byte may be the largest number there is.
  return ByteRange{*first, *last - *first >= to_end ? to_end : *last - *first + 1};
}

}  // namespace agent::install
