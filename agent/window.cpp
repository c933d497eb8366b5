#include "window.hpp"

#include <algorithm>
#include <optional>

namespace agent {
namespace {

constexpr std::uint64_t kDay = 24 * 3600;

/// "HH:MM" in minutes.
std::optional<std::uint32_t> parse_time(std::string_view text) {
  const auto digit = [&text](std::size_t at) {
    return text[at] >= '0' && text[at] <= '9' ? static_cast<std::uint32_t>(text[at] - '0') : 100;
  };
  if (text.size() != 5 || text[2] != ':') {
    return std::nullopt;
  }
  const auto hours = digit(0) * 10 + digit(1);
  const auto minutes = digit(3) * 10 + digit(4);
  return hours < 24 && minutes < 60 ? std::optional(hours * 60 + minutes) : std::nullopt;
}

}  // namespace

base::Result<std::vector<DailyWindow>> parse_windows(std::string_view text) {
  std::vector<DailyWindow> windows;
  for (std::size_t start = 0; start <= text.size();) {
    const auto comma = std::min(text.find(',', start), text.size());
    const auto word = text.substr(start, comma - start);
    const auto dash = std::min(word.find('-'), word.size());
    const auto begin = parse_time(word.substr(0, dash));
    const auto end = parse_time(word.substr(std::min(dash + 1, word.size())));
    if (!begin || !end || *begin == *end) {
      return base::Error(base::ErrorCode::kConfigInvalid,
                         "expected HH:MM-HH:MM with two different times of the day");
    }
    windows.push_back({*begin, *end});
    start = comma + 1;
  }
  return windows;
}

std::chrono::seconds until_open(const std::vector<DailyWindow>& windows, std::uint64_t now) {
  const auto since_midnight = now % kDay;
  std::uint64_t shortest = windows.empty() ? 0 : kDay;
  for (const auto& window : windows) {
    const std::uint64_t begin = std::uint64_t{window.begin} * 60;
    const std::uint64_t length = (std::uint64_t{window.end} * 60 + kDay - begin) % kDay;
    const auto since_begin = (since_midnight + kDay - begin) % kDay;
    shortest = std::min(shortest, since_begin < length ? 0 : kDay - since_begin);
  }
  return std::chrono::seconds(shortest);
}

}  // namespace agent
