// The documented keys of config.json: their types, and how --set takes values for them.
#include "config_keys.hpp"

#include <catch2/catch.hpp>
#include <sstream>

#include "base/files.hpp"
#include "base/json.hpp"

namespace {

using base::ErrorCode;
using base::Json;

std::string error_of(const Json& config) {
  const auto checked = tool::check_config_keys(config);
  return checked ? "" : checked.error().message();
}

Json set(Json config, const std::string& assignment) {
  const auto done = tool::set_config_key(config, assignment);
  INFO(assignment);
  REQUIRE(done);
  return config;
}

}  // namespace

TEST_CASE("config keys: a configuration as balenaCloud makes it is accepted") {
  const Json config = Json::parse(R"({
    "applicationId": 1234567, "deviceType": "raspberrypi4-64", "userId": "4321",
    "appUpdatePollInterval": 600000, "listenPort": 48484, "vpnPort": "443",
    "apiEndpoint": "https://api.example", "vpnEndpoint": "vpn.example",
    "registryEndpoint": "registry.example", "deltaEndpoint": "https://delta.example",
    "mixpanelToken": "0", "apiKey": "secret", "wifiSsid": "shop", "wifiKey": "passphrase",
    "network": "wifi", "files": {"network/network.config": "[service_home_ethernet]"},
    "developmentMode": true, "hostname": "till", "dnsServers": "null",
    "os": {"network": {"connectivity": {"uri": "", "interval": "0", "response": ""},
                       "wifi": {"randomMacAddressScan": false}},
           "udevRules": {"56": "ENV{ID_FS_LABEL_ENC}==\"resin-root*\""},
           "sshKeys": ["ssh-ed25519 AAAA"], "fan": {"profile": "cool"}, "power": {"mode": "low"}},
    "installer": {"secureboot": true, "migrate": {"force": false}, "target_devices": "sda nvme0n1"}
  })");
  CHECK(error_of(config).empty());
  CHECK(tool::examine_config_keys(config).unknown.empty());
}

TEST_CASE("config keys: a wrong type is an error with key, expected and found, never the value") {
  const std::vector<std::pair<std::string, std::string>> wrong{
      {R"({"developmentMode": "s3cret"})",
       "developmentMode has to be true or false, and is a string"},
      {R"({"hostname": 5})", "hostname has to be a string, and is a number"},
      {R"({"applicationId": "s3cret"})", "applicationId has to be a whole number, and is a string"},
      {R"({"listenPort": -1})", "listenPort has to be a whole number, and is a number"},
      {R"({"uuid": null})", "uuid has to be a string, and is null"},
      {R"({"os": []})", "os has to be an object, and is an array"},
      {R"({"os": {"sshKeys": "ssh-rsa"}})",
       "os.sshKeys has to be an array of strings, and is a string"},
      {R"({"os": {"sshKeys": ["a", 1]}})",
       "os.sshKeys has to be an array of strings, and has something else in it"},
      {R"({"os": {"network": {"connectivity": {"interval": 5}}}})",
       "os.network.connectivity.interval has to be a string, and is a number"},
      {R"({"os": {"udevRules": {"a": {}}}})",
       "os.udevRules has to be an object with strings, and has something else in it"},
      {R"({"installer": {"migrate": {"force": 1}}})",
       "installer.migrate.force has to be true or false, and is a number"},
      {R"([1])", "the configuration has to be an object, and is an array"},
  };
  for (const auto& [config, message] : wrong) {
    CAPTURE(config);
    CHECK(error_of(Json::parse(config)) == message);
    CHECK(message.find("s3cret") == std::string::npos);
    CHECK(tool::check_config_keys(Json::parse(config)).error().code() == ErrorCode::kConfigInvalid);
  }
}

TEST_CASE("config keys: what nobody has documented is told, with its place") {
  const auto findings = tool::examine_config_keys(
      Json::parse(R"({"hostname": "a", "colour": 1, "os": {"network": {"ipv6": {"x": 1}}},
                      "bad\u001bname": 1})"));
  CHECK(findings.misfits.empty());
  CHECK(findings.unknown == std::vector<std::string>{"bad\\x1bname", "colour", "os.network.ipv6"});
}

TEST_CASE("config keys: --set takes JSON of the documented type, and text otherwise") {
  const Json empty = Json::object();
  CHECK(set(empty, "developmentMode=true") == Json{{"developmentMode", true}});
  CHECK(set(empty, "hostname=123") == Json{{"hostname", "123"}});
  CHECK(set(empty, "hostname=\"quoted\"") == Json{{"hostname", "quoted"}});
  CHECK(set(empty, "hostname=") == Json{{"hostname", ""}});
  CHECK(set(empty, "country=true") == Json{{"country", "true"}});
  CHECK(set(empty, "listenPort=48484") == Json{{"listenPort", 48484}});
  CHECK(set(empty, "appUpdatePollInterval=ten") == Json{{"appUpdatePollInterval", "ten"}});
  CHECK(set(empty, "os.network.connectivity.interval=600") ==
        Json::parse(R"({"os": {"network": {"connectivity": {"interval": "600"}}}})"));
  CHECK(set(empty, R"(os.sshKeys=["a","b"])") == Json::parse(R"({"os": {"sshKeys": ["a", "b"]}})"));
  CHECK(set(empty, R"(os={"fan":{"profile":"cool"}})") ==
        Json::parse(R"({"os": {"fan": {"profile": "cool"}}})"));
  CHECK(set(empty, "colour=5") == Json{{"colour", "5"}});
  CHECK(set(empty, "ntpServers=a=b c") == Json{{"ntpServers", "a=b c"}});
}

TEST_CASE("config keys: --set keeps what is beside the key, and names in maps keep their dots") {
  const Json config = Json::parse(R"({"os": {"udevRules": {"1": "a"}, "fan": {"profile": "x"}}})");
  CHECK(set(config, "os.udevRules.56-usb.rules=b") ==
        Json::parse(
            R"({"os": {"udevRules": {"1": "a", "56-usb.rules": "b"}, "fan": {"profile": "x"}}})"));
  CHECK(set(config, "deviceApiKeys.api.example.com=k")["deviceApiKeys"] ==
        Json{{"api.example.com", "k"}});
  CHECK(set(config, "os.fan.profile=y")["os"]["udevRules"] == Json{{"1", "a"}});
}

TEST_CASE("config keys: an assignment that is none is refused") {
  for (const std::string text :
       {"", "hostname", "=x", ".a=x", "a.=x", "a..b=x", "a\x1b=x", "hostname=\xff"}) {
    CAPTURE(text);
    Json config = Json::object();
    CHECK(tool::set_config_key(config, text).error().code() == ErrorCode::kUsage);
    CHECK(config.empty());
  }
  Json config = Json::parse(R"({"os": "text"})");
  CHECK(tool::set_config_key(config, "os.fan.profile=x").error().code() ==
        ErrorCode::kConfigInvalid);
}

TEST_CASE("config keys: docs/image.md lists each documented key with its type, and no other") {
  const auto page = base::read_file(std::string(OU_SOURCE_DIR) + "/docs/image.md", 1'000'000);
  REQUIRE(page);
  const std::string text(base::as_text(*page));
  std::istringstream lines(tool::documented_config_keys());
  std::string rows = "| key | type |\n| --- | --- |\n";
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.find(' ');
    rows += "| `" + line.substr(0, space) + "` | " + line.substr(space + 1) + " |\n";
  }
  const std::size_t at = text.find("| key | type |");
  REQUIRE(at != std::string::npos);
  const std::string after = text.substr(at);
  CHECK(after.substr(0, rows.size()) == rows);
  CHECK_FALSE(after.substr(std::min(rows.size(), after.size())).starts_with("|"));
}
