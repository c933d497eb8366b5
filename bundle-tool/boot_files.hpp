// Where files belong on a boot partition, as balena's own tools place them.
// \source balena-cloud.md section 13
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "boot_facts.hpp"
#include "image/fat_volume.hpp"
#include "wifi_profile.hpp"

namespace tool {

inline constexpr std::string_view kConfigPath = "/config.json";
inline constexpr std::size_t kMaxSplashBytes = std::size_t{16} << 20;

struct BootInputs {
  std::optional<Wifi> wifi;
  std::map<std::string, std::string> connections;  // file names and contents
  std::optional<std::string> splash;               // a PNG picture
};

using BootFiles = std::vector<std::pair<std::string, std::string>>;  // path and content

/// What is to be written, made from the inputs and from what `boot` has.
/// \error ErrorCode::kDiskImage when the image has no place for a splash; kUsage when two inputs
/// want
///   the same place; kIo
base::Result<BootFiles> place_files(std::string config, const BootInputs& inputs,
                                    const image::FatVolume& boot, const BootFacts& facts);

}  // namespace tool
