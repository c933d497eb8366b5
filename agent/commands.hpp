// The agent's commands, apart from the command line and from the real adapters, which main.cpp
// names.
#pragma once

#include <filesystem>
#include <stop_token>

#include "base/result.hpp"
#include "config.hpp"
#include "install/supervisor.hpp"
#include "record/outcome.hpp"
#include "update_run.hpp"

namespace agent {

/// Exit codes of every command; docs/agent.md lists them.
enum class Exit : int {
  kDone = 0,         // updated, already up to date, or the answer was printed
  kFailed = 1,       // something went wrong; the device runs what it ran before
  kUsage = 2,        // the command line or the configuration is not right
  kRefused = 3,      // the bundle or the medium was refused; nothing was changed
  kReverted = 4,     // the new release did not work; the old one runs again
  kInterrupted = 5,  // stopped on the way; the agent's next start goes on
};

Exit exit_code(record::RunResult result);

struct InstallOptions {
  std::filesystem::path path;  // a bundle's directory, or one that holds bundles
  bool dry_run = false;        // print the plan, change nothing
  bool stage = false;          // copy it to the device before it is installed
  bool again = false;          // also a bundle that failed on this device before
  bool json = false;
};

/// Installs from a directory that the caller has mounted.
Exit install_command(Device& device, const record::OutcomeStore& outcomes,
                     const InstallOptions& options, std::stop_token stop);

/// Prints what is going on, what runs and what happened last.
Exit status_command(const Config& config, install::SupervisorDatabase& database, bool json);

/// Prints an error as every command does: one line, or {"error": {...}}.
void print_error(const base::Error& error, bool json);

}  // namespace agent
