#include "window.hpp"

#include <catch2/catch.hpp>

using agent::parse_windows;
using agent::until_open;
using namespace std::chrono_literals;

namespace {

/// A day long after 1970, at this time.
std::uint64_t at(std::uint64_t hours, std::uint64_t minutes, std::uint64_t seconds = 0) {
  return std::uint64_t{20'000} * 24 * 3600 + hours * 3600 + minutes * 60 + seconds;
}

std::chrono::seconds wait_at(const char* windows, std::uint64_t now) {
  const auto parsed = parse_windows(windows);
  REQUIRE(parsed);
  return until_open(*parsed, now);
}

}  // namespace

TEST_CASE("window: without one it is always time") {
  CHECK(until_open({}, at(3, 0)) == 0s);
}

TEST_CASE("window: it opens at its first second and is closed at its end") {
  CHECK(wait_at("02:00-04:00", at(1, 59, 59)) == 1s);
  CHECK(wait_at("02:00-04:00", at(2, 0)) == 0s);
  CHECK(wait_at("02:00-04:00", at(3, 59, 59)) == 0s);
  CHECK(wait_at("02:00-04:00", at(4, 0)) == 22h);
  CHECK(wait_at("02:00-04:00", at(0, 0)) == 2h);
}

TEST_CASE("window: it may span midnight, or end there") {
  CHECK(wait_at("22:30-01:15", at(22, 29)) == 1min);
  CHECK(wait_at("22:30-01:15", at(23, 59, 59)) == 0s);
  CHECK(wait_at("22:30-01:15", at(0, 0)) == 0s);
  CHECK(wait_at("22:30-01:15", at(1, 14, 59)) == 0s);
  CHECK(wait_at("22:30-01:15", at(1, 15)) == 21h + 15min);
  CHECK(wait_at("23:00-00:00", at(23, 59, 59)) == 0s);
  CHECK(wait_at("23:00-00:00", at(0, 0)) == 23h);
}

TEST_CASE("window: of several the next one counts") {
  CHECK(wait_at("02:00-04:00,12:00-12:30", at(5, 0)) == 7h);
  CHECK(wait_at("02:00-04:00,12:00-12:30", at(12, 29)) == 0s);
  CHECK(wait_at("12:00-12:30,02:00-04:00", at(13, 0)) == 13h);
}

TEST_CASE("window: what is no pair of two times of the day is an error") {
  const auto* text = GENERATE("", "02:00", "02:00-", "-02:00", "2:00-4:00", "02:00-02:00",
                              "24:00-01:00", "02:60-03:00", "02:00-04:00,", ",02:00-04:00",
                              "02:00-04:00 ", "02.00-04.00", "0a:00-04:00", "02:00-04:00-05:00");
  CAPTURE(text);
  const auto parsed = parse_windows(text);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == base::ErrorCode::kConfigInvalid);
}
