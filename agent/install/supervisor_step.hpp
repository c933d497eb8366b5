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

/// \error ErrorCode::kSupervisorState when there is none
base::Result<std::string> read_supervisor_conf(const std::filesystem::path& host_root);
/// Durable when it returns. \pre the supervisor is stopped \error ErrorCode::kSupervisorState
base::Status write_supervisor_conf(const std::filesystem::path& host_root, const std::string& conf);

}  // namespace agent::install
