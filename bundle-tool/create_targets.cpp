#include "create_targets.hpp"

#include <algorithm>
#include <set>

#include "base/files.hpp"
#include "base/lines.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "names.hpp"
#include "usage.hpp"

namespace tool {
namespace {

using base::Result;
using base::Status;
namespace fs = std::filesystem;

Status check_version(const std::optional<std::string>& version, const std::string& option) {
  if (version && !is_version(*version)) {
    return usage(option + " takes a version such as 5.0.0, not \"" + base::printable(*version) +
                 "\"");
  }
  return base::ok();
}

/// \param uuids those given one by one
Result<std::set<std::string>> read_device_list(const fs::path& path, std::set<std::string> uuids) {
  OU_TRY(const base::Bytes bytes,
         base::read_file(path, bundle::kMaxDeviceUuids * 80).within(path.string()));
  std::string_view rest = base::as_text(bytes);
  while (!rest.empty()) {
    std::string_view line = base::take_line(rest);
    line = line.substr(0, line.find_first_of("#\r"));
    const std::size_t first = line.find_first_not_of(" \t");
    if (first != std::string_view::npos) {
      uuids.emplace(line.substr(first, line.find_last_not_of(" \t") + 1 - first));
    }
  }
  if (uuids.empty()) {
    return usage(path.string() + " lists no device; leave out --device-list for the whole fleet");
  }
  return uuids;
}

}  // namespace

Result<bundle::Targets> resolve_targets(const CreateOptions& options,
                                        const std::string& release_fleet_uuid) {
  bundle::Targets targets = options.targets;
  if (targets.fleet_uuid.empty()) {
    targets.fleet_uuid = release_fleet_uuid;
  }
  if (!is_fleet_uuid(targets.fleet_uuid)) {
    return usage(
        "--fleet-uuid takes the fleet's UUID, 32 lower-case hexadecimal digits (balena "
        "fleet NAME shows it), not \"" +
        base::printable(targets.fleet_uuid) + "\"");
  }
  std::set<std::string> types(targets.device_types.begin(), targets.device_types.end());
  if (types.empty() && options.host.os_image.empty()) {
    return usage("--device-type is missing: name each device type that the images run on");
  }
  for (const std::string& type : types) {
    if (!is_device_type(type)) {
      return usage("--device-type takes a slug such as raspberrypi4-64, not \"" +
                   base::printable(type) + "\"");
    }
  }
  std::set<std::string> uuids(targets.device_uuids.begin(), targets.device_uuids.end());
  if (!options.device_list.empty()) {
    OU_TRY(uuids, read_device_list(options.device_list, std::move(uuids)));
  }
  for (const std::string& uuid : uuids) {
    if (!is_device_uuid(uuid)) {
      return usage("\"" + base::printable(uuid) +
                   "\" is no device UUID: 32 (or 62) lower-case hexadecimal digits, whole");
    }
  }
  OU_CHECK(check_version(targets.os_version.minimum, "--min-os"));
  OU_CHECK(check_version(targets.os_version.maximum, "--max-os"));
  OU_CHECK(check_version(targets.supervisor_version.minimum, "--min-supervisor"));
  OU_CHECK(check_version(targets.supervisor_version.maximum, "--max-supervisor"));
  targets.device_types.assign(types.begin(), types.end());
  targets.device_uuids.assign(uuids.begin(), uuids.end());
  return targets;
}

}  // namespace tool
