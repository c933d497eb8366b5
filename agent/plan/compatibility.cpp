#include "plan/compatibility.hpp"

#include <algorithm>
#include <charconv>

#include "base/printable.hpp"

namespace agent::plan {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxVersionBytes = 255;

/// Takes one number off the front of `text`; nothing if there is none or it is too large.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

struct Version {
  std::vector<std::uint64_t> numbers;
  bool pre_release = false;
  std::string_view suffix;
};

std::optional<Version> parse_version(std::string_view text) {
  if (text.size() > kMaxVersionBytes) {
    return std::nullopt;
  }
  if (text.starts_with('v')) {
    text.remove_prefix(1);
  }
  Version version;
  for (;;) {
    const auto number = take_number(text);
    if (!number) {
      return std::nullopt;
    }
    version.numbers.push_back(*number);
    if (!text.starts_with('.')) {
      break;
    }
    text.remove_prefix(1);
  }
  if (!text.empty() && text[0] != '-' && text[0] != '+') {
    return std::nullopt;
  }
  version.pre_release = text.starts_with('-');
  version.suffix = text;
  return version;
}

int sign(std::strong_ordering order) {
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

base::Status check_range(const bundle::VersionRange& range, const std::string& present,
                         ErrorCode code, const std::string& what) {
  const auto outside = [&](const std::string& limit, int direction) {
    const auto order = compare_versions(present, limit);
    return !order || *order * direction > 0;
  };
  if (range.minimum && outside(*range.minimum, -1)) {
    return Error(code, "the bundle needs " + what + " " + *range.minimum +
                           " or newer; this device has " + (present.empty() ? "none" : present));
  }
  if (range.maximum && outside(*range.maximum, 1)) {
    return Error(code, "the bundle is for " + what + " up to " + *range.maximum +
                           "; this device has " + (present.empty() ? "none" : present));
  }
  return base::ok();
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) {
    text += (text.empty() ? "" : ", ") + word;
  }
  return text;
}

bool contains(const std::vector<std::string>& list, const std::string& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

std::optional<int> compare_versions(std::string_view a, std::string_view b) {
  auto left = parse_version(a);
  auto right = parse_version(b);
  if (!left || !right) {
    return std::nullopt;
  }
  const auto length = std::max(left->numbers.size(), right->numbers.size());
  left->numbers.resize(length);
  right->numbers.resize(length);
  if (left->numbers != right->numbers) {
    return left->numbers < right->numbers ? -1 : 1;
  }
  if (left->pre_release != right->pre_release) {
    return left->pre_release ? -1 : 1;
  }
  // "-rc2" and "-rc10", "+rev2" and "+rev10": text up to the first digit, then as numbers.
  const auto digit = [](std::string_view text) {
    return std::min(text.find_first_of("0123456789"), text.size());
  };
  const auto left_head = left->suffix.substr(0, digit(left->suffix));
  const auto right_head = right->suffix.substr(0, digit(right->suffix));
  if (left_head != right_head) {
    return sign(left_head <=> right_head);
  }
  auto left_tail = left->suffix.substr(left_head.size());
  auto right_tail = right->suffix.substr(right_head.size());
  const auto left_number = take_number(left_tail);
  const auto right_number = take_number(right_tail);
  if (left_number != right_number) {
    return left_number < right_number ? -1 : 1;
  }
  return sign(left_tail <=> right_tail);
}

base::Status check_compatibility(const bundle::Manifest& manifest, const DeviceFacts& facts) {
  const auto& targets = manifest.targets;
  if (targets.fleet_uuid != facts.fleet_uuid) {
    return Error(ErrorCode::kWrongFleet, "the bundle is for fleet " + targets.fleet_uuid +
                                             "; this device belongs to " + facts.fleet_uuid);
  }
  if (!contains(targets.device_types, facts.device_type)) {
    return Error(ErrorCode::kWrongDeviceType, "the bundle is for " + joined(targets.device_types) +
                                                  "; this device is a " + facts.device_type);
  }
  const auto& services = manifest.release.services;
  if (manifest.has_release() && !facts.own_service.empty() &&
      std::none_of(services.begin(), services.end(),
                   [&](const auto& service) { return service.name == facts.own_service; })) {
    return Error(ErrorCode::kReleaseWithoutAgent,
                 "the release has no service \"" + base::printable(facts.own_service) +
                     "\", in which this agent runs: nobody would be left to watch the release, to "
                     "go back from it, or to take the next bundle");
  }
  if (!targets.device_uuids.empty() && !contains(targets.device_uuids, facts.device_uuid)) {
    return Error(ErrorCode::kDeviceNotListed,
                 "the bundle lists " + std::to_string(targets.device_uuids.size()) +
                     " devices; this one (" + facts.device_uuid + ") is not among them");
  }
  for (const auto& image : manifest.images) {
    if (image.architecture != facts.architecture) {
      return Error(ErrorCode::kArchitecture, "image " + image.id.hex().substr(0, 12) + " is for " +
                                                 image.architecture + "; this device runs " +
                                                 facts.architecture);
    }
  }
  if (manifest.sequence < facts.highest_sequence) {
    return Error(ErrorCode::kSequenceOld,
                 "the bundle has sequence " + std::to_string(manifest.sequence) +
                     "; this device has already taken " + std::to_string(facts.highest_sequence));
  }
  OU_CHECK(check_range(targets.os_version, facts.os_version, ErrorCode::kOsVersion, "OS version"));
  return check_range(targets.supervisor_version, facts.supervisor_version,
                     ErrorCode::kSupervisorVersion, "supervisor version");
}

}  // namespace agent::plan
