// How long work tells the person in front of it how far it is.
#pragma once

#include <cstdint>
#include <string_view>

namespace base {

/// Told of progress from any thread; implementations do not block.
class ProgressSink {
 public:
  ProgressSink() = default;
  ProgressSink(const ProgressSink&) = delete;
  ProgressSink& operator=(const ProgressSink&) = delete;
  virtual ~ProgressSink() = default;

  /// A new phase with `total` units of work; 0 when that is not known.
  virtual void phase(std::string_view name, std::uint64_t total) = 0;
  /// `done` units more of the present phase.
  virtual void advance(std::uint64_t done) = 0;
};

/// For callers that do not care.
class NoProgress final : public ProgressSink {
 public:
  void phase(std::string_view /*name*/, std::uint64_t /*total*/) override {}
  void advance(std::uint64_t /*done*/) override {}
};

}  // namespace base
