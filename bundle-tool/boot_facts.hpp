// What a balenaOS image's boot partition says of the image: device type and OS version.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/fat_volume.hpp"

namespace tool {

struct BootFacts {
  std::string device_type;           // its slug, checked
  std::vector<std::string> aliases;  // older names of the same device type
  std::optional<std::string> os_version;

  [[nodiscard]] bool is_for(const std::string& type) const;
};

/// \error ErrorCode::kDiskImage when device-type.json is missing or not usable;
///   kDiskImageUnsupported when the image keeps its configuration elsewhere; kIo
base::Result<BootFacts> read_boot_facts(const image::FatVolume& boot);

/// Whether the numbers of `version` ("2.113.33", "5.0.0+rev1") are at least these.
bool is_at_least(const std::string& version, unsigned major, unsigned minor);

}  // namespace tool
