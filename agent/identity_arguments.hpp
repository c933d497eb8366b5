// The command line of offline-updater-agent identity.
#pragma once

#include <functional>
#include <string>

#include "identity_commands.hpp"

namespace CLI {
class App;
}

namespace agent {

/// What was chosen, with its options; empty when it was another command.
struct ChosenIdentityCommand {
  enum class Name { kNone, kShow, kExport, kRestore };
  Name name = Name::kNone;
  IdentityOptions options;
};

/// Adds "identity" with its commands to `app`. Both objects have to outlive the parsing.
void add_identity_arguments(CLI::App& app, std::string& config_file, ChosenIdentityCommand& chosen);

}  // namespace agent
