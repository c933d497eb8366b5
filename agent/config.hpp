// Every option of the agent. A balena fleet sets variables, so each has an OFFLINE_UPDATER_ name; a
// configuration file holds the same names as NAME=VALUE lines. docs/agent-options.md gives reasons.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "window.hpp"

namespace agent {

struct Config {
  // Where things are
  std::filesystem::path host_root;    // HOST_ROOT: the host's own root as this process sees it
  std::filesystem::path state_dir;    // STATE_DIR: journal, outcomes, ledger
  std::filesystem::path runtime_dir;  // RUNTIME_DIR: private mount points and device nodes
  std::filesystem::path trust_file;   // TRUST
  std::string engine_socket;          // ENGINE_SOCKET
  std::optional<std::filesystem::path> engine_root;  // ENGINE_ROOT: data-root as seen from here
  std::string supervisor_address;                    // SUPERVISOR_ADDRESS: http://HOST:PORT
  std::string supervisor_api_key;   // BALENA_SUPERVISOR_API_KEY; empty: from the database
  std::string own_app_id;           // BALENA_APP_ID: of the service in which this agent runs
  std::string own_service;          // BALENA_SERVICE_NAME; both empty: it runs in none
  std::string dbus_address;         // DBUS_ADDRESS: empty: the system bus
  std::string supervisor_unit;      // SUPERVISOR_UNIT
  std::string supervisor_timer;     // SUPERVISOR_TIMER
  std::uint16_t registry_port = 0;  // REGISTRY_PORT: 0: any free one

  // What may be taken
  std::vector<std::string> media_kinds;   // MEDIA: usb, sd, loop
  std::string loop_files;                 // LOOP_FILES: see media::MediaPolicy
  std::vector<std::string> file_systems;  // FILESYSTEMS: vfat, exfat, ext4
  bool write_results = true;              // RESULTS

  // How installing begins
  std::optional<bool> stage;         // STAGE: copy a bundle first; nothing: see wants_staging()
  std::vector<DailyWindow> windows;  // WINDOW: empty: at any time

  // How long to wait
  std::chrono::seconds wait_for_medium{};  // WAIT_FOR_MEDIUM_SECONDS
  std::chrono::seconds wait_for_locks{};   // WAIT_FOR_LOCKS_SECONDS: for the services' update locks
  std::chrono::seconds stall_timeout{};    // STALL_SECONDS: no progress in a phase
  std::chrono::seconds apply_timeout{};    // APPLY_SECONDS: for the supervisor to start the release

  std::chrono::seconds os_timeout{};      // OS_SECONDS: for hostapp-update, all of it
  std::chrono::seconds reboot_timeout{};  // REBOOT_SECONDS: from asking until the device goes down

  std::string log_level;  // LOG_LEVEL: debug, info, warning, error

  // Host paths, as seen from here
  [[nodiscard]] std::filesystem::path config_json() const;          // /mnt/boot/config.json
  [[nodiscard]] std::filesystem::path supervisor_database() const;  // below /mnt/data/resin-data
  [[nodiscard]] std::filesystem::path update_locks() const;  // /tmp/balena-supervisor/services
  [[nodiscard]] std::filesystem::path os_release() const;    // /etc/os-release
};

/// Builds the configuration: defaults, then `file` if given, then `environment` (all variables of
/// the process; those that begin with OFFLINE_UPDATER_ have to be known).
/// \error ErrorCode::kConfigInvalid naming the option, what is wrong with it and what is allowed;
///   kNotFound for the file
base::Result<Config> load_config(const std::optional<std::filesystem::path>& file,
                                 const std::map<std::string, std::string>& environment);

}  // namespace agent
