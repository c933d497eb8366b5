// Bytes, hex and base64 as both programs use them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace base {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

ByteView as_bytes(std::string_view text);
std::string_view as_text(ByteView bytes);

/// Lower-case hexadecimal.
std::string to_hex(ByteView bytes);
/// The bytes of lower-case hexadecimal; nothing if `text` is anything else.
std::optional<Bytes> from_hex(std::string_view text);

/// Standard base64 with padding, on one line.
std::string to_base64(ByteView bytes);
/// The bytes of standard padded base64; nothing if `text` is anything else (also white space).
std::optional<Bytes> from_base64(std::string_view text);

}  // namespace base
