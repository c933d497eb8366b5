#include "names.hpp"

#include <algorithm>
#include <cctype>
#include <string>

namespace tool {
namespace {

constexpr std::string_view kLower = "abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kUpper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kHex = "0123456789abcdef";

std::string join(std::initializer_list<std::string_view> parts) {
  std::string result;
  for (const auto part : parts) {
    result += part;
  }
  return result;
}

bool made_of(std::string_view text, std::string_view characters) {
  return text.find_first_not_of(characters) == std::string_view::npos;
}

}  // namespace

bool is_service_name(std::string_view text) {
  static const std::string kFirst = join({kLower, kUpper, kDigits});
  static const std::string kAll = kFirst + "._-";
  return !text.empty() && text.size() <= 63 && made_of(text.substr(0, 1), kFirst) &&
         made_of(text, kAll);
}

bool is_variable_name(std::string_view text) {
  static const std::string kFirst = join({kLower, kUpper, "_"});
  static const std::string kAll = join({kFirst, kDigits});
  return !text.empty() && text.size() <= 255 && made_of(text.substr(0, 1), kFirst) &&
         made_of(text, kAll);
}

bool is_fleet_uuid(std::string_view text) {
  return text.size() == 32 && made_of(text, kHex);
}

bool is_device_uuid(std::string_view text) {
  return (text.size() == 32 || text.size() == 62) && made_of(text, kHex);
}

bool is_commit(std::string_view text) {
  return (text.size() == 32 || text.size() == 40) && made_of(text, kHex);
}

bool is_device_type(std::string_view text) {
  static const std::string kAll = join({kLower, kDigits, "-"});
  return !text.empty() && text.size() <= 255 && text.front() != '-' && made_of(text, kAll);
}

bool is_repository_name(std::string_view text) {
  static const std::string kRegistry = join({kLower, kUpper, kDigits, "._-:"});
  static const std::string kPath = join({kLower, kDigits, "._-/"});
  const std::size_t slash = text.find('/');
  if (slash == 0 || slash == std::string_view::npos || text.size() > 180) {
    return false;
  }
  const std::string_view path = text.substr(slash + 1);
  return !path.empty() && path.front() != '/' && path.back() != '/' &&
         path.find("//") == std::string_view::npos && made_of(text.substr(0, slash), kRegistry) &&
         made_of(path, kPath);
}

bool is_connection_name(std::string_view text) {
  static const std::string kFirst = join({kLower, kUpper, kDigits});
  static const std::string kAll = kFirst + "._-";
  return !text.empty() && text.size() <= 100 && made_of(text.substr(0, 1), kFirst) &&
         made_of(text, kAll);
}

bool is_portable_file_name(std::string_view text) {
  const bool plain = std::none_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f ||
           std::string_view("<>:\"/\\|?*").find(c) != std::string_view::npos;
  });
  return !text.empty() && text.size() <= 200 && plain && text.back() != '.' && text.back() != ' ' &&
         text.front() != ' ' && text.front() != '.';
}

bool is_version(std::string_view text) {
  if (text.empty() || text.size() > 255) {
    return false;
  }
  const std::string_view numbers = text.substr(0, text.find_first_of("-+"));
  std::size_t parts = 0;
  std::size_t start = 0;
  while (start <= numbers.size()) {
    const std::size_t dot = std::min(numbers.find('.', start), numbers.size());
    const std::string_view part = numbers.substr(start, dot - start);
    if (part.empty() || part.size() > 9 || !made_of(part, kDigits)) {
      return false;
    }
    ++parts;
    start = dot + 1;
  }
  static const std::string kTail = join({kLower, kUpper, kDigits, "-+._"});
  return parts >= 2 && made_of(text.substr(numbers.size()), kTail);
}

}  // namespace tool
