#include "config.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <regex>
#include <set>

#include "support/scratch.hpp"

namespace {

using agent::Config;
using agent::load_config;
using base::ErrorCode;
using support::Scratch;
using namespace std::chrono_literals;

using Variables = std::map<std::string, std::string>;
constexpr const char* kPrefix = "OFFLINE_UPDATER_";

Config config_of(const Variables& environment) {
  const auto config = load_config(std::nullopt, environment);
  CAPTURE(config ? "" : config.error().message());
  REQUIRE(config);
  return *config;
}

std::string refusal_of(const Variables& environment) {
  const auto config = load_config(std::nullopt, environment);
  REQUIRE_FALSE(config);
  CHECK(config.error().code() == ErrorCode::kConfigInvalid);
  return config.error().message();
}

/// A value that is not the default, for every option.
const Variables kEveryOption{{"HOST_ROOT", "/host"},
                             {"STATE_DIR", "/state"},
                             {"RUNTIME_DIR", "/runtime"},
                             {"TRUST", "/trust"},
                             {"ENGINE_SOCKET", "unix:///engine.sock"},
                             {"ENGINE_ROOT", "/engine"},
                             {"SUPERVISOR_ADDRESS", "http://127.0.0.1:1"},
                             {"DBUS_ADDRESS", "unix:path=/bus"},
                             {"SUPERVISOR_UNIT", "s.service"},
                             {"SUPERVISOR_TIMER", "s.timer"},
                             {"REGISTRY_PORT", "65535"},
                             {"MEDIA", "loop,usb"},
                             {"LOOP_FILES", "/loops"},
                             {"FILESYSTEMS", "ext4"},
                             {"RESULTS", "false"},
                             {"STAGE", "true"},
                             {"WINDOW", "02:00-04:00,22:30-01:00"},
                             {"OS_SECONDS", "60"},
                             {"REBOOT_SECONDS", "61"},
                             {"WAIT_FOR_MEDIUM_SECONDS", "1"},
                             {"WAIT_FOR_LOCKS_SECONDS", "2"},
                             {"STALL_SECONDS", "3"},
                             {"APPLY_SECONDS", "4"},
                             {"LOG_LEVEL", "debug"}};

Variables with_prefix(const Variables& options) {
  Variables variables;
  for (const auto& [name, value] : options) {
    variables.emplace(kPrefix + name, value);
  }
  return variables;
}

void check_every_option(const Config& config) {
  CHECK(config.host_root == "/host");
  CHECK(config.state_dir == "/state");
  CHECK(config.runtime_dir == "/runtime");
  CHECK(config.trust_file == "/trust");
  CHECK(config.engine_socket == "/engine.sock");
  CHECK(config.engine_root == "/engine");
  CHECK(config.loop_files == "/loops");
  CHECK(config.supervisor_address == "http://127.0.0.1:1");
  CHECK(config.dbus_address == "unix:path=/bus");
  CHECK(config.supervisor_unit == "s.service");
  CHECK(config.supervisor_timer == "s.timer");
  CHECK(config.registry_port == 65535);
  CHECK(config.media_kinds == std::vector<std::string>{"loop", "usb"});
  CHECK(config.file_systems == std::vector<std::string>{"ext4"});
  CHECK_FALSE(config.write_results);
  CHECK(config.stage == true);
  REQUIRE(config.windows.size() == 2);
  CHECK(config.windows[1].begin == 22 * 60 + 30);
  CHECK(config.windows[1].end == 60);
  CHECK(config.wait_for_medium == 1s);
  CHECK(config.wait_for_locks == 2s);
  CHECK(config.stall_timeout == 3s);
  CHECK(config.apply_timeout == 4s);
  CHECK(config.log_level == "debug");
}

/// Names in the first column of the table of docs/agent-options.md.
std::set<std::string> documented_options() {
  std::ifstream file(std::string(OU_SOURCE_DIR) + "/docs/agent-options.md");
  REQUIRE(file);
  std::set<std::string> names;
  const std::regex row(R"(^\| `([A-Z_]+)` \|.*)");
  std::smatch match;
  for (std::string line; std::getline(file, line);) {
    if (std::regex_match(line, match, row)) {
      names.insert(match[1]);
    }
  }
  return names;
}

}  // namespace

TEST_CASE("config: every option is taken from the environment") {
  check_every_option(config_of(with_prefix(kEveryOption)));
}

TEST_CASE("config: the options that are documented are those that there are") {
  std::set<std::string> known;
  for (const auto& [name, value] : kEveryOption) {
    known.insert(name);
    CHECK(load_config(std::nullopt, {{kPrefix + name, value}}));
  }
  CHECK(documented_options() == known);
}

TEST_CASE("config: without options nothing is copied first, and it is always time") {
  CHECK_FALSE(config_of({}).stage.has_value());
  CHECK(config_of({}).windows.empty());
  CHECK(config_of({{"OFFLINE_UPDATER_STAGE", "false"}}).stage == false);
  CHECK_THAT(refusal_of({{"OFFLINE_UPDATER_WINDOW", "02:00"}}), Catch::Contains("HH:MM-HH:MM"));
  CHECK_THAT(refusal_of({{"OFFLINE_UPDATER_STAGE", "yes"}}), Catch::Contains("STAGE"));
}

TEST_CASE("config: a variable of the environment wins over the file") {
  const Scratch scratch;
  std::string text = "# comment\n\n";
  for (const auto& [name, value] : kEveryOption) {
    text += kPrefix + name + "=" + value + "\r\n";
  }
  const auto file = scratch.write("agent.conf", text + kPrefix + "TRUST=/a=b");
  const auto config = load_config(file, {{"OFFLINE_UPDATER_TRUST", "/trust"}, {"PATH", "/bin"}});
  REQUIRE(config);
  check_every_option(*config);
  CHECK(load_config(file, {})->trust_file == "/a=b");
}

TEST_CASE("config: a file with anything else in it is refused, with its line") {
  const Scratch scratch;
  for (const std::string line :
       {"TRUST=/x", "OFFLINE_UPDATER_TRUST", " OFFLINE_UPDATER_TRUST=/x"}) {
    CAPTURE(line);
    const auto config = load_config(scratch.write("agent.conf", "# first\n" + line + "\n"), {});
    REQUIRE_FALSE(config);
    CHECK(config.error().code() == ErrorCode::kConfigInvalid);
    CHECK_THAT(config.error().message(), Catch::Contains("line 2"));
  }
  const auto unknown = load_config(scratch.write("agent.conf", "OFFLINE_UPDATER_TRUTS=/x\n"), {});
  REQUIRE_FALSE(unknown);
  CHECK_THAT(unknown.error().message(), Catch::Contains("TRUTS"));
  const auto none = load_config(scratch / "none", {});
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == ErrorCode::kNotFound);
}

TEST_CASE("config: an unknown option is an error that names it, others' variables are not") {
  CHECK_THAT(refusal_of({{"OFFLINE_UPDATER_TRUTS", "x"}}), Catch::Contains("TRUTS"));
  CHECK_THAT(refusal_of({{"OFFLINE_UPDATER_", "x"}}), Catch::Contains("OFFLINE_UPDATER_ "));
  CHECK(load_config(std::nullopt, {{"SOMETHING", "x"}, {"offline_updater_trust", "x"}}));
}

TEST_CASE("config: a value that is not allowed is refused, with the option and what is allowed") {
  const auto [name, value] =
      GENERATE(table<std::string, std::string>({{"REGISTRY_PORT", "65536"},
                                                {"REGISTRY_PORT", "-1"},
                                                {"REGISTRY_PORT", "1x"},
                                                {"REGISTRY_PORT", ""},
                                                {"STALL_SECONDS", "0"},
                                                {"STALL_SECONDS", "99999999999999999999"},
                                                {"APPLY_SECONDS", "1.5"},
                                                {"WAIT_FOR_LOCKS_SECONDS", "-5"},
                                                {"WAIT_FOR_MEDIUM_SECONDS", "x"},
                                                {"RESULTS", "yes"},
                                                {"RESULTS", ""},
                                                {"MEDIA", "usb,floppy"},
                                                {"MEDIA", ""},
                                                {"MEDIA", "usb,"},
                                                {"FILESYSTEMS", "ntfs"},
                                                {"LOG_LEVEL", "loud"},
                                                {"LOG_LEVEL", "info,debug"}}));
  CAPTURE(name, value);
  CHECK_THAT(refusal_of({{kPrefix + name, value}}), Catch::Contains(name));
}

TEST_CASE("config: what a value has of control characters is not printed") {
  CHECK_THAT(refusal_of({{"OFFLINE_UPDATER_RESULTS", "\x1b[2J"}}), !Catch::Contains("\x1b"));
}

TEST_CASE("config: defaults come from what balena sets, and paths from the host's root") {
  const auto config = config_of({{"DOCKER_HOST", "unix:///var/run/docker.sock"},
                                 {"BALENA_SUPERVISOR_ADDRESS", "http://10.0.0.1:48484"},
                                 {"BALENA_SUPERVISOR_API_KEY", "key"},
                                 {"DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/host/bus"},
                                 {"OFFLINE_UPDATER_HOST_ROOT", "/h"}});
  CHECK(config.engine_socket == "/var/run/docker.sock");
  CHECK(config.supervisor_address == "http://10.0.0.1:48484");
  CHECK(config.supervisor_api_key == "key");
  CHECK(config.dbus_address == "unix:path=/host/bus");
  CHECK(config.state_dir == "/h/mnt/data/offline-updater");
  CHECK(config.config_json() == "/h/mnt/boot/config.json");
  CHECK(config.update_locks() == "/h/tmp/balena-supervisor/services");
  CHECK_FALSE(config.engine_root);
  CHECK(config.media_kinds == std::vector<std::string>{"usb", "sd"});
  CHECK(config.write_results);
}
