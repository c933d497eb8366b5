// Text line by line.
#pragma once

#include <algorithm>
#include <string_view>

namespace base {

/// Takes the first line off the front of `text` and returns it without its "\n"; the last one may
/// have none. \pre !text.empty()
inline std::string_view take_line(std::string_view& text) {
  const auto line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  return line;
}

}  // namespace base
