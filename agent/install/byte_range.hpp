// The one header of a request that decides which bytes of a blob are sent.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace agent::install {

struct ByteRange {
  std::uint64_t first;
  std::uint64_t count;
};

/// Understands what engines send when they resume: "bytes=N-" and "bytes=N-M", the latter cut at
/// the end of the content. Nothing for everything else (other units, several ranges, a suffix, a
/// first byte at or past the end, numbers that do not fit): the answer to that is 416, since an
/// engine that gets the whole content in answer to a range never completes. \source RFC 9110,
/// section 14.1.2; engine-and-supervisor.md section 9
std::optional<ByteRange> parse_range(std::string_view header, std::uint64_t size_bytes);

}  // namespace agent::install
