// Lets any single call of a fake go wrong, or the power go there.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace support {

/// Thrown by a fake in place of a power cut.
struct PowerCut {};

/// What a fake answers that was told to fail.
inline base::Error broken(base::ErrorCode code) {
  return {code, "made to fail"};
}

/// Counts the calls of all fakes of a device, and lets one of them go wrong.
class Faults {
 public:
  enum class Kind {
    kNone,
    kError,      // the call does nothing and returns an error
    kCutBefore,  // the power goes before the call does anything
    kCutAfter,   // the power goes when the call is done
  };
  /// \param call counted from 1 on, beginning now
  void arm(Kind kind, int call) {
    kind_ = kind;
    at_ = call;
    calls_ = 0;
    names_.clear();
  }
  /// For on_call: the call that just began fails.
  void fail_this_call() {
    kind_ = Kind::kError;
    at_ = calls_;
  }
  void disarm() { arm(Kind::kNone, 0); }
  [[nodiscard]] int calls() const { return calls_; }
  [[nodiscard]] bool struck() const { return kind_ != Kind::kNone && calls_ >= at_; }
  /// The calls since arm(), in order.
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }

  /// Every fake begins each call with it. \return whether the call has to fail
  bool begin(const std::string& name);
  /// ... and ends it with this.
  void end() const;

  std::function<void(const std::string& name)> on_call;  // lets a test change the world meanwhile

 private:
  Kind kind_ = Kind::kNone;
  int at_ = 0;
  int calls_ = 0;
  std::vector<std::string> names_;
};

}  // namespace support
