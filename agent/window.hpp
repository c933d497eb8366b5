// Hours of the day in which installations may begin. Arithmetic alone: no clock is read here.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace agent {

/// From `begin` until just before `end`, in minutes since midnight; it spans midnight when `end` is
/// not behind `begin`.
struct DailyWindow {
  std::uint32_t begin;
  std::uint32_t end;
};

/// Reads "02:00-04:00,22:30-01:00". \error ErrorCode::kConfigInvalid
base::Result<std::vector<DailyWindow>> parse_windows(std::string_view text);

/// How long it is until one is open: zero when one is, and when there is none.
/// \param now seconds since 1970 by the device's clock, which on balenaOS is UTC
std::chrono::seconds until_open(const std::vector<DailyWindow>& windows, std::uint64_t now);

}  // namespace agent
