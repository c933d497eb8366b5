#include "install/supervisor_step.hpp"

#include "base/files.hpp"
#include "base/lines.hpp"

namespace agent::install {
namespace {

using base::ErrorCode;

constexpr std::size_t kMaxConfBytes = std::size_t{64} * 1024;
constexpr std::string_view kImage = "SUPERVISOR_IMAGE=";
constexpr std::string_view kVersion = "SUPERVISOR_VERSION=";

/// The file behind the bind mount: it survives an update of the OS.
std::filesystem::path conf_file(const std::filesystem::path& host_root) {
  return host_root / "mnt/state/root-overlay/etc/balena-supervisor/supervisor.conf";
}

/// Made anew by the OS's updater, which asks the cloud, some minutes after each start.
std::filesystem::path override_file(const std::filesystem::path& host_root) {
  return host_root / "tmp/update-supervisor.conf";
}

/// What follows the last line that begins with `key`, without quotes.
std::string value_of(std::string_view conf, std::string_view key) {
  std::string value;
  while (!conf.empty()) {
    const auto line = base::take_line(conf);
    if (line.starts_with(key)) {
      value = line.substr(key.size());
    }
  }
  std::erase(value, '"');
  return value;
}

}  // namespace

std::string with_supervisor(std::string_view conf, const std::string& image,
                            const std::string& version) {
  std::string text;
  while (!conf.empty()) {
    const auto line = base::take_line(conf);
    if (!line.starts_with(kImage) && !line.starts_with(kVersion)) {
      text += std::string(line) + "\n";
    }
  }
  return text + std::string(kImage) + image + "\n" + std::string(kVersion) + "v" + version + "\n";
}

std::string supervisor_version_in(std::string_view conf) {
  const auto version = value_of(conf, kVersion);
  return version.starts_with('v') ? version.substr(1) : version;
}

std::string supervisor_image_in(std::string_view conf) {
  return value_of(conf, kImage);
}

base::Result<std::string> read_supervisor_conf(const std::filesystem::path& host_root) {
  auto bytes = base::read_file(conf_file(host_root), kMaxConfBytes);
  if (!bytes) {
    return std::move(bytes).error().as(ErrorCode::kSupervisorState);
  }
  return std::string(base::as_text(*bytes));
}

base::Result<std::string> read_effective_supervisor_conf(const std::filesystem::path& host_root) {
  const auto bytes = base::read_file(override_file(host_root), kMaxConfBytes);
  const std::string text(bytes ? base::as_text(*bytes) : "");
  return supervisor_image_in(text).empty() ? read_supervisor_conf(host_root) : text;
}

base::Status write_supervisor_conf(const std::filesystem::path& host_root,
                                   const std::string& conf) {
  auto written = base::write_file_durably(conf_file(host_root), base::as_bytes(conf), 0644);
  if (written) {
    written = base::remove_file_durably(override_file(host_root));
  }
  if (!written) {
    return std::move(written).error().as(ErrorCode::kSupervisorState);
  }
  return base::ok();
}

}  // namespace agent::install
