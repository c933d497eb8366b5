// An error as it travels up: a code for programs, and for people what was being done, outermost
// first.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error_code.hpp"

namespace base {

class Error {
 public:
  /// \param what what is wrong, in one sentence without a final full stop, and if possible what to
  ///   do about it ("minimum is 64 KiB; pass a larger --chunk-size"). Text that came from a medium
  ///   or a peer goes through base::printable() first.
  Error(ErrorCode code, std::string what) : code_(code), what_(std::move(what)) {}

  /// The error that the C library left in errno: kNoSpace for ENOSPC and EDQUOT, kNotFound for
  /// ENOENT, kPermission for EACCES and EPERM, kIo for all else.
  /// \param doing the operation and its object, such as "open manifest.json"
  static Error from_errno(int error_number, std::string doing);

  [[nodiscard]] ErrorCode code() const { return code_; }
  [[nodiscard]] const std::string& what() const { return what_; }

  /// This error seen from one layer further out: `doing` is put before what is there.
  [[nodiscard]] Error within(std::string doing) &&;

  /// This error with another code, for a layer that knows better what it means.
  [[nodiscard]] Error as(ErrorCode code) && {
    code_ = code;
    return std::move(*this);
  }

  /// "mount /dev/sda1: open superblock: Input/output error", outermost first.
  [[nodiscard]] std::string message() const;

 private:
  ErrorCode code_;
  std::string what_;
  std::vector<std::string> contexts_;  // innermost first
};

}  // namespace base
