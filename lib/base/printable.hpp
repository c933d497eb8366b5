// Makes text from outside harmless for logs and terminals.
#pragma once

#include <string>
#include <string_view>

namespace base {

/// `text` with every control character, every character that reorders or hides text (Unicode's
/// bidirectional and invisible ones), and every byte that is not valid UTF-8 written as `\xHH`, cut
/// after `limit` bytes with "..." to say so. Names from a medium are printed only through this.
std::string printable(std::string_view text, std::size_t limit = 200);

}  // namespace base
