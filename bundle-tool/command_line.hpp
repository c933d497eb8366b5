// The command line: options in, one command run, its outcome printed.
#pragma once

namespace tool {

/// Runs `bundle-tool ARGUMENTS`. Results go to standard output, everything else to standard error.
/// \return the exit status, see exit_codes.hpp
int run_command_line(int count, const char* const* arguments);

}  // namespace tool
