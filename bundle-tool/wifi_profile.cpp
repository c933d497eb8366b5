#include "wifi_profile.hpp"

#include <algorithm>
#include <string_view>

#include "base/lines.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxSsidBytes = 32;
constexpr std::size_t kMinPassphrase = 8;
constexpr std::size_t kMaxPassphrase = 63;
constexpr std::size_t kKeyDigits = 64;

constexpr std::string_view kPlainProfile =
    "[connection]\nid=resin-wifi\ntype=wifi\n\n"
    "[wifi]\nhidden=true\nmode=infrastructure\n\n"
    "[wifi-security]\nauth-alg=open\nkey-mgmt=wpa-psk\n\n"
    "[ipv4]\nmethod=auto\n\n"
    "[ipv6]\naddr-gen-mode=stable-privacy\nmethod=auto\n";

bool is_printable_ascii(char c) {
  return c >= ' ' && c <= '~';
}

/// Text where that cannot be misread, else the bytes as numbers, which NetworkManager takes too.
std::string ssid_value(std::string_view ssid) {
  const bool plain = std::all_of(ssid.begin(), ssid.end(), is_printable_ascii) &&
                     ssid.find_first_of(";\\") == std::string_view::npos && ssid.front() != ' ' &&
                     ssid.back() != ' ';
  if (plain) {
    return std::string(ssid);
  }
  std::string numbers;
  for (const char c : ssid) {
    numbers += std::to_string(static_cast<unsigned char>(c)) + ";";
  }
  return numbers;
}

/// As GKeyFile writes a string.
std::string escaped(std::string_view text) {
  std::string value;
  bool leading = true;
  for (const char c : text) {
    leading = leading && c == ' ';
    if (leading) {
      value += "\\s";
    } else if (c == '\\') {
      value += "\\\\";
    } else {
      value.push_back(c);
    }
  }
  return value;
}

std::string_view trim(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  line.remove_suffix(line.size() - (line.find_last_not_of(" \t\r") + 1));
  return line;
}

bool sets(std::string_view line, std::string_view key) {
  const std::size_t equals = line.find('=');
  return equals != std::string_view::npos && trim(line.substr(0, equals)) == key;
}

/// `profile` with `key` of `[section]` set: in its line if it has one, else at the section's start,
/// else in a new section.
std::string with_value(std::string_view profile, std::string_view section, std::string_view key,
                       const std::string& value) {
  const std::string heading = "[" + std::string(section) + "]";
  const std::string line_to_set = std::string(key) + "=" + value + "\n";
  std::string before;  // up to and with the heading
  std::string inside;
  std::string after;
  bool found = false;
  while (!profile.empty()) {
    const std::string_view line = base::take_line(profile);
    const bool is_heading = trim(line).starts_with('[');
    std::string& part = !found ? before : is_heading || !after.empty() ? after : inside;
    if (&part != &inside || !sets(line, key)) {
      part += std::string(line) + "\n";
    }
    found = found || trim(line) == heading;
  }
  if (!found) {
    before += "\n" + heading + "\n";
  }
  return before + line_to_set + inside + after;
}

}  // namespace

base::Status check_wifi(const Wifi& wifi) {
  if (wifi.ssid.empty() || wifi.ssid.size() > kMaxSsidBytes ||
      wifi.ssid.find('\0') != std::string::npos) {
    return Error(ErrorCode::kUsage, "a network's name (SSID) has 1 to 32 bytes");
  }
  const std::string& secret = wifi.passphrase;
  const bool key = secret.size() == kKeyDigits &&
                   secret.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  const bool passphrase = secret.size() >= kMinPassphrase && secret.size() <= kMaxPassphrase &&
                          std::all_of(secret.begin(), secret.end(), is_printable_ascii);
  if (!key && !passphrase) {
    return Error(ErrorCode::kUsage,
                 "a WPA passphrase has 8 to 63 printable ASCII characters, or is a key of 64 "
                 "hexadecimal digits; for other networks pass --system-connection FILE");
  }
  return base::ok();
}

std::string wifi_profile(const std::optional<std::string>& present, const Wifi& wifi) {
  const std::string named = with_value(present ? std::string_view(*present) : kPlainProfile, "wifi",
                                       "ssid", ssid_value(wifi.ssid));
  return with_value(named, "wifi-security", "psk", escaped(wifi.passphrase));
}

}  // namespace tool
