// Which supervisor image the OS starts: /etc/balena-supervisor/supervisor.conf, which lives on the
// state partition.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace agent::install {

/// `conf` with SUPERVISOR_IMAGE and SUPERVISOR_VERSION set; every other line stays. Pure.
/// \param image without tag and digest, as the OS's health check needs it
/// \source balenaos.md section 8
std::string with_supervisor(std::string_view conf, const std::string& image,
                            const std::string& version);

/// SUPERVISOR_VERSION of a supervisor.conf, without a leading "v"; empty if there is none.
std::string supervisor_version_in(std::string_view conf);

/// SUPERVISOR_IMAGE of a supervisor.conf; empty if there is none.
std::string supervisor_image_in(std::string_view conf);

/// What the OS keeps. \error ErrorCode::kSupervisorState when there is none
base::Result<std::string> read_supervisor_conf(const std::filesystem::path& host_root);
/// What the supervisor that runs was started with: until the device restarts, a file that the OS's
/// updater leaves in /tmp counts instead of the one that is kept.
/// \error as read_supervisor_conf()
/// \source https://github.com/balena-os/meta-balena balena-supervisor.service (EnvironmentFile=),
///   update-balena-supervisor (UPDATECONF)
base::Result<std::string> read_effective_supervisor_conf(const std::filesystem::path& host_root);
/// Makes `conf` the one that counts. Durable when it returns.
/// \pre the supervisor is stopped \error ErrorCode::kSupervisorState
base::Status write_supervisor_conf(const std::filesystem::path& host_root, const std::string& conf);

}  // namespace agent::install
