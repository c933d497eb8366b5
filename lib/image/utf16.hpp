// Names as GPT and FAT keep them: UTF-16, least significant byte first.
#pragma once

#include <string>

#include "base/bytes.hpp"

namespace image {

/// The text up to the first zero, in UTF-8. A half of a surrogate pair becomes U+FFFD; control
/// characters stay, so that the text is as hostile as what it was made from.
std::string from_utf16(base::ByteView bytes);

}  // namespace image
