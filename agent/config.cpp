#include "config.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <set>

#include "base/files.hpp"
#include "base/lines.hpp"
#include "base/printable.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view kPrefix = "OFFLINE_UPDATER_";
constexpr std::size_t kMaxConfigBytes = std::size_t{64} * 1024;
constexpr std::int64_t kMaxSeconds = std::int64_t{366} * 24 * 3600;

using Variables = std::map<std::string, std::string>;

/// Takes options out of a map of variables and keeps the first mistake.
class Options {
 public:
  explicit Options(Variables variables) : variables_(std::move(variables)) {}

  [[nodiscard]] bool has(const std::string& name) const { return variables_.contains(name); }
  std::string text(const std::string& name, const std::string& fallback) {
    const auto found = variables_.find(name);
    if (found == variables_.end()) {
      return fallback;
    }
    auto value = std::move(found->second);
    variables_.erase(found);
    return value;
  }
  std::int64_t number(const std::string& name, std::int64_t fallback, std::int64_t min,
                      std::int64_t max) {
    const auto value = text(name, std::to_string(fallback));
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < min ||
        number > max) {
      fail(name, value,
           "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
    }
    return number;
  }
  bool boolean(const std::string& name, bool fallback) {
    const auto value = text(name, fallback ? "true" : "false");
    if (value != "true" && value != "false" && value != "1" && value != "0") {
      fail(name, value, "true or false");
    }
    return value == "true" || value == "1";
  }
  std::string one_of(const std::string& name, const std::string& fallback,
                     const std::set<std::string>& allowed) {
    const auto words = list(name, fallback, allowed);
    if (words.size() != 1) {
      fail(name, "", "exactly one of its values");
      return fallback;
    }
    return words.front();
  }
  /// Words separated by commas, each of them allowed.
  std::vector<std::string> list(const std::string& name, const std::string& fallback,
                                const std::set<std::string>& allowed) {
    const auto value = text(name, fallback);
    std::vector<std::string> words;
    std::string allowed_text;
    for (const auto& word : allowed) {
      allowed_text += (allowed_text.empty() ? "" : ", ") + word;
    }
    for (std::size_t start = 0; start <= value.size();) {
      const auto comma = std::min(value.find(',', start), value.size());
      words.push_back(value.substr(start, comma - start));
      if (!allowed.contains(words.back())) {
        fail(name, value, "of: " + allowed_text);
      }
      start = comma + 1;
    }
    return words;
  }
  std::vector<DailyWindow> windows(const std::string& name) {
    const auto value = text(name, "");
    auto parsed = value.empty() ? std::vector<DailyWindow>() : parse_windows(value);
    if (!parsed) {
      fail(name, value, "a list of windows: " + parsed.error().message());
      return {};
    }
    return *std::move(parsed);
  }
  void fail(const std::string& name, const std::string& value, const std::string& allowed) {
    if (!failure_) {
      failure_ =
          Error(ErrorCode::kConfigInvalid, std::string(kPrefix) + name + "=\"" +
                                               base::printable(value) + "\" is not " + allowed);
    }
  }
  base::Status finish() {
    if (!failure_ && !variables_.empty()) {
      failure_ = Error(ErrorCode::kConfigInvalid,
                       std::string(kPrefix) + base::printable(variables_.begin()->first) +
                           " is no option of this agent; docs/agent-options.md lists them");
    }
    return failure_ ? base::Status(*failure_) : base::ok();
  }

 private:
  Variables variables_;
  std::optional<Error> failure_;
};

/// Adds those of `from` that begin with the prefix, without it.
void collect(const Variables& from, Variables& into) {
  for (const auto& [name, value] : from) {
    if (name.starts_with(kPrefix)) {
      into.insert_or_assign(name.substr(kPrefix.size()), value);
    }
  }
}

base::Result<Variables> read_variables(const std::filesystem::path& file) {
  OU_TRY(const auto bytes, base::read_file(file, kMaxConfigBytes));
  Variables variables;
  std::string_view rest = base::as_text(bytes);
  for (int number = 1; !rest.empty(); ++number) {
    auto line = base::take_line(rest);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.empty() || line.starts_with('#')) {
      continue;
    }
    const auto equals = line.find('=');
    if (equals == std::string_view::npos || !line.starts_with(kPrefix)) {
      return Error(ErrorCode::kConfigInvalid,
                   file.string() + " line " + std::to_string(number) +
                       ": expected OFFLINE_UPDATER_NAME=VALUE, a comment or an empty line");
    }
    variables.insert_or_assign(std::string(line.substr(0, equals)),
                               std::string(line.substr(equals + 1)));
  }
  return variables;
}

std::string variable(const Variables& environment, const std::string& name,
                     const std::string& fallback) {
  const auto found = environment.find(name);
  return found == environment.end() || found->second.empty() ? fallback : found->second;
}

std::string without_unix(const std::string& address) {
  constexpr std::string_view kScheme = "unix://";
  return address.starts_with(kScheme) ? address.substr(kScheme.size()) : address;
}

}  // namespace

std::filesystem::path Config::config_json() const {
  return host_root / "mnt/boot/config.json";
}
std::filesystem::path Config::supervisor_database() const {
  return host_root / "mnt/data/resin-data/balena-supervisor/database.sqlite";
}
std::filesystem::path Config::update_locks() const {
  return host_root / "tmp/balena-supervisor/services";
}
std::filesystem::path Config::os_release() const {
  return host_root / "etc/os-release";
}

base::Result<Config> load_config(const std::optional<std::filesystem::path>& file,
                                 const std::map<std::string, std::string>& environment) {
  Variables variables;
  if (file) {
    OU_TRY(const auto from_file, read_variables(*file));
    collect(from_file, variables);
  }
  collect(environment, variables);
  Options options(std::move(variables));

  Config config;
  config.host_root = options.text("HOST_ROOT", "/proc/1/root");
  config.state_dir =
      options.text("STATE_DIR", (config.host_root / "mnt/data/offline-updater").string());
  config.runtime_dir = options.text("RUNTIME_DIR", "/run/offline-updater");
  config.trust_file = options.text("TRUST", "/etc/offline-updater/trust");
  config.engine_socket = without_unix(options.text(
      "ENGINE_SOCKET", variable(environment, "DOCKER_HOST", "/host/run/balena-engine.sock")));
  const auto engine_root = options.text("ENGINE_ROOT", "");
  if (!engine_root.empty()) {
    config.engine_root = engine_root;
  }
  config.supervisor_address =
      options.text("SUPERVISOR_ADDRESS",
                   variable(environment, "BALENA_SUPERVISOR_ADDRESS", "http://127.0.0.1:48484"));
  config.supervisor_api_key = variable(environment, "BALENA_SUPERVISOR_API_KEY", "");
  config.own_app_id = variable(environment, "BALENA_APP_ID", "");
  config.own_service = variable(environment, "BALENA_SERVICE_NAME", "");
  config.dbus_address =
      options.text("DBUS_ADDRESS", variable(environment, "DBUS_SYSTEM_BUS_ADDRESS", ""));
  config.supervisor_unit = options.text("SUPERVISOR_UNIT", "balena-supervisor.service");
  config.supervisor_timer = options.text("SUPERVISOR_TIMER", "update-balena-supervisor.timer");
  config.registry_port =
      static_cast<std::uint16_t>(options.number("REGISTRY_PORT", 0, 0, UINT16_MAX));
  config.media_kinds = options.list("MEDIA", "usb,sd", {"usb", "sd", "loop"});
  config.loop_files = options.text("LOOP_FILES", "");
  config.file_systems = options.list("FILESYSTEMS", "vfat,exfat,ext4", {"vfat", "exfat", "ext4"});
  config.write_results = options.boolean("RESULTS", true);
  if (options.has("STAGE")) {
    config.stage = options.boolean("STAGE", false);
  }
  config.windows = options.windows("WINDOW");
  const auto seconds = [&options](const char* name, std::int64_t fallback) {
    return std::chrono::seconds(options.number(name, fallback, 1, kMaxSeconds));
  };
  config.wait_for_medium = seconds("WAIT_FOR_MEDIUM_SECONDS", 3600);
  config.wait_for_locks = seconds("WAIT_FOR_LOCKS_SECONDS", 3600);
  config.stall_timeout = seconds("STALL_SECONDS", 600);
  config.apply_timeout = seconds("APPLY_SECONDS", 600);
  config.os_timeout = seconds("OS_SECONDS", 7200);
  config.reboot_timeout = seconds("REBOOT_SECONDS", 1200);
  config.log_level = options.one_of("LOG_LEVEL", "info", {"debug", "info", "warning", "error"});
  OU_CHECK(options.finish());
  return config;
}

}  // namespace agent
