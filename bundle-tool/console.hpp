// Speaks to the person in front of bundle-tool, on standard error: notes, warnings and progress.
// Results go to standard output and are printed by the command line alone.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "base/progress.hpp"

namespace tool {

/// Progress as one line that is rewritten on a terminal, as plain lines otherwise, or not at all.
/// Safe to use from several threads.
class Console final : public base::ProgressSink {
 public:
  enum class Style { kTerminal, kLines, kQuiet };

  /// The style that fits standard error.
  static Style detect(bool quiet);

  explicit Console(Style style) : style_(style) {}
  ~Console() override;

  /// Something worth knowing. Not shown by kQuiet.
  void note(const std::string& text);
  /// Something that may not be as intended. Always shown, and kept for JSON results.
  void warning(const std::string& text);
  [[nodiscard]] std::vector<std::string> warnings() const;

  void phase(std::string_view name, std::uint64_t total) override;
  void advance(std::uint64_t done) override;
  /// The present phase is over.
  void finish();

 private:
  void draw(bool last);
  void print(const std::string& line);
  void close_phase();

  const Style style_;
  mutable std::mutex mutex_;
  std::vector<std::string> warnings_;
  std::string phase_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point drawn_;
};

/// "1.4 GiB", "12 bytes": for people.
std::string size_text(std::uint64_t bytes);

}  // namespace tool
