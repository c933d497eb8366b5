#include "oci/hostapp_image.hpp"

#include <algorithm>
#include <optional>

#include "base/json.hpp"
#include "base/lines.hpp"
#include "base/printable.hpp"
#include "oci/layer_usage.hpp"
#include "oci/layered_files.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using Kind = TarEntry::Kind;

constexpr std::string_view kBootFiles = "resin-boot/";
constexpr std::string_view kBootVolume = "boot/";
constexpr std::string_view kSecureBootMark = "EFI/BOOT/grub-luks.cfg.sig";

/// A flasher is a whole OS too, and so has nearly all that a hostapp has.
bool is_flasher(const LayeredFiles& files) {
  const auto& nodes = files.nodes();
  return nodes.contains("resin-boot/balena-image-flasher") ||
         std::any_of(nodes.begin(), nodes.end(), [](const auto& entry) {
           return entry.first.starts_with("opt/") && entry.first.ends_with(".balenaos-img");
         });
}

/// What the image may be, if it is no hostapp.
std::string guess(const LayeredFiles& files) {
  const auto& nodes = files.nodes();
  const bool disk_image = std::any_of(nodes.begin(), nodes.end(), [](const auto& entry) {
    const std::string& path = entry.first;
    return path.ends_with("img") || path.ends_with(".wic") || path.ends_with(".img.gz");
  });
  if (disk_image && files.resolve("etc/os-release") == nullptr) {
    return "this holds a disk image; take the hostapp image of the same balenaOS version";
  }
  return files.resolve("etc/os-release") != nullptr
             ? "this looks like an application's image; take the hostapp image of balenaOS"
             : "this is no operating system; take the hostapp image of balenaOS";
}

Error invalid(const std::string& what) {
  return {ErrorCode::kOsImageInvalid, what};
}

Error missing(const std::string& what, const LayeredFiles& files) {
  return invalid("the image has " + what + ": " + guess(files));
}

/// A value of os-release. \source os-release(5): shell assignments, quotes and backslashes
std::string unquoted(std::string_view value) {
  const char quote = value.empty() ? '\0' : value.front();
  if (quote != '"' && quote != '\'') {
    return std::string(value.substr(0, value.find_first_of(" \t\r")));
  }
  std::string text;
  for (std::size_t i = 1; i < value.size() && value[i] != quote; ++i) {
    if (value[i] == '\\' && quote == '"' && i + 1 < value.size()) {
      ++i;
    }
    text += value[i];
  }
  return text;
}

std::map<std::string, std::string> parse_os_release(std::string_view text) {
  std::map<std::string, std::string> values;
  while (!text.empty()) {
    const std::string_view line = base::take_line(text);
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos && !line.starts_with('#')) {
      values.insert_or_assign(std::string(line.substr(0, equals)),
                              unquoted(line.substr(equals + 1)));
    }
  }
  return values;
}

std::string value_or_empty(const std::map<std::string, std::string>& values,
                           const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second;
}

/// "" without the file.
Result<std::string> slug_of_boot_partition(const LayeredFiles& files) {
  const auto* node = files.resolve("resin-boot/device-type.json");
  if (node == nullptr || node->kind != Kind::kFile) {
    return std::string();
  }
  const auto json =
      base::parse_json(node->content.value_or(""), {.max_bytes = LayeredFiles::kMaxContentBytes});
  if (!json || !json->is_object() || !json->contains("slug") || !(*json)["slug"].is_string()) {
    return invalid("/resin-boot/device-type.json of the image is no JSON object with a slug");
  }
  return (*json)["slug"].get<std::string>();
}

Result<std::string> device_type(const std::string& slug, const LayeredFiles& files) {
  OU_TRY(const std::string other, slug_of_boot_partition(files));
  if (slug.empty() && other.empty()) {
    return missing(
        "no device type: neither SLUG in /etc/os-release nor /resin-boot/device-type.json", files);
  }
  if (!slug.empty() && !other.empty() && slug != other) {
    return invalid("the image is for two device types: SLUG of /etc/os-release is " +
                   base::printable(slug, 64) + ", that of /resin-boot/device-type.json is " +
                   base::printable(other, 64));
  }
  return slug.empty() ? other : slug;
}

}  // namespace

Result<HostappImage> read_hostapp_image(const ImageSource& image, base::ProgressSink& progress) {
  const auto keep = [](std::string_view name) {
    return name == "os-release" || name == "device-type.json";
  };
  OU_TRY(const LayeredFiles files, LayeredFiles::read(image, keep, progress));
  if (is_flasher(files)) {
    return invalid(
        "the image is the flasher, which wipes the device that it runs on: take the hostapp image "
        "of the same balenaOS version");
  }
  HostappImage hostapp;
  for (const auto& [path, node] : files.nodes()) {
    if (path.starts_with(kBootFiles) && node.kind == Kind::kFile) {
      hostapp.boot_files.emplace(path.substr(kBootFiles.size()), node.size_bytes);
    } else if (path.starts_with(kBootVolume)) {
      hostapp.boot_volume_bytes +=
          installed_bytes(node.kind, node.size_bytes, node.link_target.size());
    }
  }
  const auto* release = files.resolve("etc/os-release");
  if (release == nullptr || release->kind != Kind::kFile || !release->content) {
    return missing("no /etc/os-release that can be read", files);
  }
  if (hostapp.boot_files.empty()) {
    return missing("no files for the boot partition below /resin-boot", files);
  }
  if (hostapp.boot_volume_bytes == 0) {
    return missing("nothing below /boot, from where the device starts it", files);
  }
  const auto values = parse_os_release(*release->content);
  hostapp.version = value_or_empty(values, "VERSION");
  if (hostapp.version.empty()) {
    return missing("no VERSION in /etc/os-release", files);
  }
  hostapp.meta_version = value_or_empty(values, "META_BALENA_VERSION");
  if (hostapp.meta_version.empty()) {
    hostapp.meta_version = hostapp.version;
  }
  OU_TRY(hostapp.device_type, device_type(value_or_empty(values, "SLUG"), files));
  hostapp.signed_for_secure_boot = hostapp.boot_files.contains(std::string(kSecureBootMark));
  return hostapp;
}

}  // namespace oci
