// Looks at the device and gathers the facts that a plan is made of. Changes nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.hpp"
#include "base/sizes.hpp"
#include "config.hpp"
#include "install/engine.hpp"
#include "install/supervisor.hpp"
#include "plan/device_facts.hpp"
#include "record/ledger.hpp"

namespace agent {

/// What the updater reads of config.json; it writes none of it.
struct DeviceIdentity {
  std::string uuid;
  std::string device_type;
  std::string api_endpoint;  // empty on a device that was never connected to a cloud
  std::uint64_t application_id = 0;
};

/// \error ErrorCode::kDeviceFacts when the file cannot be read or lacks uuid, deviceType or
///   applicationId
/// \source balenaos.md section 9
base::Result<DeviceIdentity> read_identity(const std::filesystem::path& config_json);

/// META_BALENA_VERSION of an os-release file, else VERSION_ID, else VERSION; empty if there is
/// none.
std::string parse_os_version(std::string_view os_release);

struct Survey {
  DeviceIdentity identity;
  plan::DeviceFacts facts;
};

/// For a file system that makes inodes as it needs them.
inline constexpr std::uint64_t kUnlimitedInodes = UINT64_MAX;

/// What is free for us on the file system of `directory`. \error ErrorCode::kDeviceFacts
base::Result<base::Room> free_room(const std::filesystem::path& directory);

/// \param with_os also looks at the host OS, its slots and its boot partition: that mounts the
///   inactive slot and reads the whole boot partition, for bundles that bring an OS
/// \error ErrorCode::kDeviceFacts; those of the engine and of the supervisor's database
base::Result<Survey> survey_device(const Config& config, install::Engine& engine,
                                   install::SupervisorDatabase& database,
                                   install::SupervisorApi& api, const record::Ledger& ledger,
                                   bool with_os);

}  // namespace agent
