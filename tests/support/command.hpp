// Runs other programs in tests.
#pragma once

#include <string>
#include <vector>

namespace support {

struct CommandOutcome {
  int exit_code;       // 128 + signal when killed
  std::string output;  // standard output
  std::string errors;  // standard error
};

/// Runs a program found in PATH to its end, with standard input empty. `environment` are NAME=VALUE
/// pairs on top of the present ones. Throws std::runtime_error when it cannot be started.
CommandOutcome run_command(const std::vector<std::string>& argv,
                           const std::vector<std::string>& environment = {});

/// As run_command(), but any exit code except 0 throws, with what the program said.
/// \return standard output without the final line break
std::string must_run(const std::vector<std::string>& argv,
                     const std::vector<std::string>& environment = {});

}  // namespace support
