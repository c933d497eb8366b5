// What image inspect says of a boot partition: configuration without its secrets, device type and
// network profiles. Private to image inspect.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/block_range.hpp"

namespace tool {

struct InspectedBoot {
  std::uint64_t free_bytes = 0;
  std::string device_type;  // slug, or empty
  bool has_config = false;
  std::map<std::string, std::string> settings;  // of config.json, in JSON: those that are no secret
  std::vector<std::string> hidden_keys;         // of config.json: all others
  std::string application_id;                   // empty: not configured
  std::string device_uuid;                      // its first 7 characters; empty: not registered
  std::vector<std::string> profiles;  // files below system-connections, without the samples
  std::vector<std::string> problems;
};

/// \error ErrorCode::kDiskImage when there is no FAT that can be read; kNotFound, kNoSpace, kIo
base::Result<InspectedBoot> inspect_boot(const image::BlockRange& range,
                                         const std::filesystem::path& scratch);

}  // namespace tool
