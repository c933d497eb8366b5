// The NetworkManager profile "resin-wifi", as `balena os configure` makes it.
// \source balena-io-modules/balena-device-init src/network.ts; nm-settings-keyfile(5)
#pragma once

#include <optional>
#include <string>

#include "base/result.hpp"

namespace tool {

struct Wifi {
  std::string ssid;
  std::string passphrase;
};

/// \error ErrorCode::kUsage: an SSID that is not of 1 to 32 bytes; a passphrase that is neither 8
/// to
///   63 printable ASCII characters nor 64 hexadecimal digits
base::Status check_wifi(const Wifi& wifi);

/// `present`, the image's own profile or sample, with network and passphrase set and everything
/// else as it is; without one a profile for any WPA network.
std::string wifi_profile(const std::optional<std::string>& present, const Wifi& wifi);

}  // namespace tool
