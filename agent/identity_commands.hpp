// offline-updater-agent identity: who this device is, sealed for its owner, and put back.
#pragma once

#include <filesystem>
#include <functional>

#include "base/result.hpp"
#include "commands.hpp"
#include "config.hpp"

namespace agent {

struct IdentityOptions {
  bool json = false;
  // export
  std::filesystem::path public_key;
  std::filesystem::path output;
  // restore: at most one of the first two
  std::string from_backup;            // "state" or "data"; empty: the first one that is good
  std::filesystem::path config_json;  // config.json of an export that its owner has opened
  bool new_device = false;            // `config_json` may be of another uuid
};

/// Runs work while the supervisor is stopped; from main.cpp, which has the real adapters.
using WhileSupervisorStopped = std::function<base::Status(const std::function<base::Status()>&)>;

/// Prints the identity with its secrets masked, and whether the backups are good. Changes nothing.
Exit identity_show_command(const Config& config, bool json);

/// Seals config.json, boot settings and machine-id for the owner's public key.
Exit identity_export_command(const Config& config, const IdentityOptions& options);

/// Gives config.json its identity again and prints what was changed. Without `config_json` from the
/// backups of this device. With it from that file, which has to be of the uuid that the device or
/// its backup has, unless `new_device` is given; the backups are then made anew.
/// Refused while an update is under way; beside a daemon that waits for media it may run.
Exit identity_restore_command(const Config& config, const IdentityOptions& options,
                              const WhileSupervisorStopped& while_stopped);

}  // namespace agent
