#include "console.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>

namespace tool {
namespace {

constexpr std::chrono::milliseconds kRedraw(100);
constexpr std::chrono::seconds kLineEvery(15);  // a log that is followed shows that it goes on
constexpr std::size_t kBarWidth = 24;

/// "12.3 MiB/s, 3:05 left"; empty as long as that would be a guess. `total` 0: not known.
std::string pace_text(std::uint64_t done, std::uint64_t total, std::chrono::duration<double> took) {
  constexpr std::chrono::seconds kGuess(1);
  if (took < kGuess || done == 0) {
    return "";
  }
  const double rate = static_cast<double>(done) / took.count();
  std::string text = size_text(static_cast<std::uint64_t>(rate)) + "/s";
  if (total > done) {
    const auto left = static_cast<std::uint64_t>(static_cast<double>(total - done) / rate);
    const std::string seconds = std::to_string(left % 60);
    text +=
        ", " + std::to_string(left / 60) + (seconds.size() == 1 ? ":0" : ":") + seconds + " left";
  }
  return text;
}

std::size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

}  // namespace

std::string size_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) {
    return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
  }
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  const int length = std::snprintf(text.data(), text.size(), "%.1f %s", value, kUnits.at(unit));
  return {text.data(), static_cast<std::size_t>(std::max(length, 0))};
}

Console::Style Console::detect(bool quiet) {
  if (quiet) {
    return Style::kQuiet;
  }
  return ::isatty(STDERR_FILENO) == 1 ? Style::kTerminal : Style::kLines;
}

Console::~Console() {
  finish();
}

void Console::note(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (style_ != Style::kQuiet) {
    print(text);
  }
}

void Console::warning(const std::string& text) {
  const std::lock_guard lock(mutex_);
  warnings_.push_back(text);
  print("warning: " + text);
}

std::vector<std::string> Console::warnings() const {
  const std::lock_guard lock(mutex_);
  return warnings_;
}

void Console::phase(std::string_view name, std::uint64_t total) {
  const std::lock_guard lock(mutex_);
  close_phase();
  phase_ = name;
  total_ = total;
  done_ = 0;
  started_ = drawn_ = std::chrono::steady_clock::now();
  if (style_ == Style::kLines) {
    print(phase_ + (total == 0 ? "" : " (" + size_text(total) + ")"));
  } else {
    draw(false);
  }
}

void Console::advance(std::uint64_t done) {
  const std::lock_guard lock(mutex_);
  done_ += done;
  const auto now = std::chrono::steady_clock::now();
  const auto wait = style_ == Style::kTerminal ? std::chrono::milliseconds(kRedraw)
                                               : std::chrono::milliseconds(kLineEvery);
  if (!phase_.empty() && now - drawn_ >= wait) {
    drawn_ = now;
    draw(false);
  }
}

void Console::finish() {
  const std::lock_guard lock(mutex_);
  close_phase();
}

void Console::close_phase() {
  if (!phase_.empty() && style_ == Style::kTerminal) {
    draw(true);
  }
  phase_.clear();
}

void Console::draw(bool last) {
  if (style_ == Style::kQuiet) {
    return;
  }
  std::string line = phase_;
  if (total_ > 0) {
    const std::uint64_t done = last ? total_ : std::min(done_, total_);
    const auto part = static_cast<double>(done) / static_cast<double>(total_);
    if (style_ == Style::kTerminal) {
      const auto filled = static_cast<std::size_t>(part * static_cast<double>(kBarWidth));
      line += " [" + std::string(filled, '#') + std::string(kBarWidth - filled, ' ') + "]";
    }
    line += " " + std::to_string(static_cast<int>(part * 100)) + "%";
  } else if (done_ > 0) {
    line += " " + size_text(done_);
  }
  const std::string pace =
      pace_text(done_, last ? 0 : total_, std::chrono::steady_clock::now() - started_);
  line += pace.empty() ? "" : " " + pace;
  if (style_ == Style::kLines) {
    print("  " + line);
    return;
  }
  line.resize(std::min(line.size(), terminal_width() - 1));
  // Carriage return, text, erase to the end of the line: the next drawing replaces it.
  static_cast<void>(std::fprintf(stderr, "\r%s\033[K%s", line.c_str(), last ? "\n" : ""));
  static_cast<void>(std::fflush(stderr));
}

void Console::print(const std::string& line) {
  const bool bar = style_ == Style::kTerminal && !phase_.empty();
  static_cast<void>(std::fprintf(stderr, "%s%s\n", bar ? "\r\033[K" : "", line.c_str()));
}

}  // namespace tool
