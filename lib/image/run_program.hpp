// Runs the tools of e2fsprogs and mtools: argument vectors, no shell, a small environment of our
// own, and limits for what they say and how long they take.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace image {

struct Program {
  std::vector<std::string> argv;         // argv[0] is looked for in PATH, /usr/sbin and /sbin
  std::string package;                   // the Debian package that has it, for the error
  std::vector<std::string> environment;  // NAME=VALUE; beside these only PATH, LC_ALL=C and TZ=UTC
  std::string_view input;                // its standard input
  std::vector<int> descriptors;          // stay open in it under their numbers: /proc/self/fd/N
  std::uint64_t output_limit_bytes = std::uint64_t{1} << 20;
  std::chrono::seconds time_limit = std::chrono::minutes(10);
};

struct ProgramResult {
  int exit_status;     // 128 + signal when it was killed
  std::string output;  // standard output
  std::string errors;  // standard error; what is above 64 KiB is left out
};

/// Runs a program to its end; how it ended is the caller's to judge.
/// \error ErrorCode::kNotFound when it is not installed, with the package to install;
///   kLimitExceeded when it says more than the limit; kTimeout; kIo when it cannot be started
base::Result<ProgramResult> run_program(const Program& program);

/// The error of a program that ended badly: its name and the last line that it wrote to standard
/// error, or its exit status when there is none.
base::Error program_error(base::ErrorCode code, const Program& program,
                          const ProgramResult& result);

/// Runs a program that has to end with 0. \return its standard output
/// \error those of run_program(); `code` when it ends with anything else
base::Result<std::string> run_successfully(const Program& program, base::ErrorCode code);

}  // namespace image
