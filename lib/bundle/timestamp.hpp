// Times as manifest.json writes them: UTC, to the second.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace bundle {

/// "2026-11-23T20:13:00Z". \param seconds since 1970, before the year 10000
std::string format_timestamp(std::uint64_t seconds);

/// Seconds since 1970 of exactly that form; nothing for any other text or a time before 1970.
std::optional<std::uint64_t> parse_timestamp(const std::string& text);

}  // namespace bundle
