// What a bundle brings besides a release: host OS, supervisor, changes of the configuration.
#pragma once

#include "console.hpp"
#include "create.hpp"
#include "image_packer.hpp"

namespace tool {

/// Checks what can be checked before any image is read. \error ErrorCode::kUsage
base::Status check_host_options(const HostOptions& options);

/// The files of --config-patch and --system-connection.
/// \error ErrorCode::kUsage: no JSON, a key that a bundle may not set, no NetworkManager keyfile, a
///   file name that does not do; kLimitExceeded, kNotFound, kIo
base::Result<bundle::ConfigChange> read_config_change(const HostOptions& options);

/// Reads and packs the host OS; sets the targets' device type, or compares it.
/// \error ErrorCode::kOsImageInvalid; kWrongDeviceType when the targets name other types; those of
///   ImagePacker
base::Result<bundle::HostOs> pack_host_os(const std::string& source, ImagePacker& packer,
                                          bundle::Targets& targets, Console& console);

/// \error those of ImagePacker
base::Result<bundle::SupervisorImage> pack_supervisor(const HostOptions& options,
                                                      ImagePacker& packer, Console& console);

/// A device has one processor: the host OS's. \error ErrorCode::kArchitecture
base::Status check_architectures(const bundle::HostOs& os, const bundle::Manifest& manifest);

}  // namespace tool
