// Takes the power away, or lets a call fail, at a chosen call that changes the disk: open() of a
// new file, write(), fsync(), rename(), unlink(). Link lost_power.cpp into the test program: it
// stands in for these functions of the C library.
#pragma once

#include <functional>

namespace support {

/// What the disk has of that which was not synced when the power went.
enum class Unsynced {
  kKept,    // all of it
  kLost,    // nothing: names as before, new files cut in half
  kBroken,  // the worst that FAT does: half a file, and of a rename neither name
};

/// Runs `work` in a child process whose power goes just before its `call`-th call (from 1).
/// \return whether it came to that; false: `work` was done before
bool lose_power(int call, Unsynced unsynced, const std::function<void()>& work);

/// Lets the `call`-th call from now on (from 1) fail with `error_number`, and no other.
class FailingCall {
 public:
  FailingCall(int call, int error_number);
  FailingCall(const FailingCall&) = delete;
  FailingCall& operator=(const FailingCall&) = delete;
  ~FailingCall();
  [[nodiscard]] bool struck() const;
};

}  // namespace support
