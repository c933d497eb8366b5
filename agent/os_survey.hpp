// Looks at the host OS, its slots and its boot partition for a plan. Changes nothing.
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "base/result.hpp"
#include "plan/device_facts.hpp"

namespace agent {

/// Whether an update of the OS is open, whoever began it.
/// \error ErrorCode::kDeviceFacts: it cannot be told
base::Result<plan::OsState> survey_os_state(const std::filesystem::path& host_root);

/// Whether two block devices stand on no disk in common, through partitions and encryption. No,
/// when that cannot be told of one of them. \param sys where sysfs is mounted \param host_root for
/// files behind loop devices
bool on_other_disks(const std::filesystem::path& sys, const std::filesystem::path& host_root,
                    dev_t one, dev_t other);

/// \error ErrorCode::kDeviceFacts: this is no balenaOS with two slots, or it cannot be read
base::Result<plan::OsFacts> survey_os(const std::filesystem::path& host_root);

}  // namespace agent
