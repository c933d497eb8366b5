// bundle-tool image configure: config.json, network profiles and splash of a balenaOS image, where
// `balena os configure` puts them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "console.hpp"
#include "outcome.hpp"

namespace CLI {
class App;
}

namespace tool {

struct ImageConfigureOptions {
  std::filesystem::path image;
  std::filesystem::path config;       // empty: the image's own is changed
  std::vector<std::string> settings;  // KEY=VALUE
  std::string wifi_ssid;
  std::filesystem::path wifi_passphrase_file;
  std::vector<std::filesystem::path> connections;
  std::vector<std::filesystem::path> ssh_keys;
  std::filesystem::path splash;
};

/// Declares the options; `options` outlives `command`.
void add_image_configure_options(CLI::App& command, ImageConfigureOptions& options);

/// Checks everything and makes the changes on a copy of the boot partition before the first byte is
/// written to the image.
/// \error ErrorCode::kUsage: nothing to do, or an input that does not do; kConfigInvalid: a key of
///   the wrong type; kWrongDeviceType: configuration and image are for different device types;
///   kDiskImage, kDiskImageUnsupported; kUpdateInProgress: another program changes the image;
///   kNoSpace; kNotFound, kPermission, kIo
/// \source balena-cloud.md section 13
base::Result<Outcome> image_configure(const ImageConfigureOptions& options, Console& console);

}  // namespace tool
