#include "boot_files.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::string_view kConnections = "/system-connections/";
constexpr std::string_view kWifiProfile = "resin-wifi";
constexpr std::size_t kMaxProfileBytes = std::size_t{64} * 1024;

/// What the network's profile starts from.
Result<std::optional<std::string>> present_profile(const image::FatVolume& boot) {
  for (const std::string name : {"resin-wifi", "resin-sample.ignore", "resin-sample"}) {
    OU_TRY(auto text, boot.read_file(std::string(kConnections) + name, kMaxProfileBytes));
    if (text) {
      return text;
    }
  }
  return std::optional<std::string>();
}

/// The path that this version of the OS shows a picture from.
Result<std::string> splash_path(const image::FatVolume& boot, const BootFacts& facts) {
  if (const auto directory = boot.list("/splash"); !directory) {
    return Error(ErrorCode::kDiskImage, "the image has no splash directory: images of " +
                                            facts.device_type +
                                            " show no picture; leave --splash out");
  }
  OU_TRY(const auto old_picture, boot.read_file("/splash/resin-logo.png", kMaxSplashBytes));
  const bool old =
      facts.os_version ? !is_at_least(*facts.os_version, 2, 53) : old_picture.has_value();
  return std::string(old ? "/splash/resin-logo.png" : "/splash/balena-logo.png");
}

}  // namespace

Result<BootFiles> place_files(std::string config, const BootInputs& inputs,
                              const image::FatVolume& boot, const BootFacts& facts) {
  BootFiles files{{std::string(kConfigPath), std::move(config)}};
  if (inputs.wifi) {
    if (inputs.connections.count(std::string(kWifiProfile)) != 0) {
      return Error(ErrorCode::kUsage,
                   "a connection file named resin-wifi would replace the profile "
                   "of the network: give the file another name");
    }
    OU_TRY(const auto present, present_profile(boot));
    files.emplace_back(std::string(kConnections) + std::string(kWifiProfile),
                       wifi_profile(present, *inputs.wifi));
  }
  for (const auto& [name, content] : inputs.connections) {
    files.emplace_back(std::string(kConnections) + name, content);
  }
  if (inputs.splash) {
    OU_TRY(std::string path, splash_path(boot, facts));
    files.emplace_back(std::move(path), *inputs.splash);
  }
  return files;
}

}  // namespace tool
