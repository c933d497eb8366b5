// What bundle-tool's exit status means. Scripts rely on it: a number never gets another meaning.
// Printed by --help and listed in docs/bundle-tool.md; a test compares the two.
#pragma once

#include <string>

#include "base/error_code.hpp"

namespace tool {

enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,
  kNotVerified = 3,
  kInput = 4,
  kNoSpace = 5,
  kExists = 6,
  kKey = 7,
};

/// The status with which a command that failed with `code` ends.
ExitCode exit_code_of(base::ErrorCode code);

/// One line per status: number and meaning.
std::string exit_code_table();

}  // namespace tool
