#include "bundle/timestamp.hpp"

#include <ctime>

namespace bundle {

std::string format_timestamp(std::uint64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::string text(32, '\0');
  text.resize(std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts));
  return text;
}

std::optional<std::uint64_t> parse_timestamp(const std::string& text) {
  std::tm parts{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (end == nullptr || *end != '\0') {
    return std::nullopt;
  }
  const auto time = ::timegm(&parts);
  // Only the one way to write a time is accepted: the same manifest has the same bytes.
  if (time < 0 || format_timestamp(static_cast<std::uint64_t>(time)) != text) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(time);
}

}  // namespace bundle
