// config.json changed by a signed patch: only what it may change, and the rest byte for byte.
#include "install/config_step.hpp"

#include <catch2/catch.hpp>

#include "base/files.hpp"
#include "base/json.hpp"
#include "bundle/limits.hpp"
#include "record/config_document.hpp"
#include "support/scratch.hpp"

namespace {

using namespace agent::install;
using agent::record::ConfigDocument;
using base::ErrorCode;
using base::Json;
using support::Scratch;

const std::string kConfig = R"({
  "uuid": "aa11",  "applicationId": "1234567",
  "registered_at": 1.70e9,
  "deviceApiKey":"k\u0065y \" }, {",
  "country" : "GB",
  "os": {"network": {"wifi": {"randomMacAddressScan": false}}, "sshKeys": ["a"]},
  "hostname": "old"
}
)";

std::string text_at(const std::filesystem::path& path) {
  const auto bytes = base::read_file(path, 1'000'000);
  REQUIRE(bytes);
  return std::string(base::as_text(*bytes));
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const auto at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), with);
}

bool apply(const std::filesystem::path& file, const std::string& patch, ConfigKeys which) {
  const auto changed = apply_config_patch(file, patch, which);
  CAPTURE(changed ? "" : changed.error().message());
  REQUIRE(changed);
  return *changed;
}

}  // namespace

TEST_CASE("config document: what is not changed keeps every byte") {
  auto document = *ConfigDocument::parse(kConfig);
  CHECK(document.text() == kConfig);
  CHECK(document.keys() == std::vector<std::string>{"uuid", "applicationId", "registered_at",
                                                    "deviceApiKey", "country", "os", "hostname"});
  CHECK(document.value("registered_at") == "1.70e9");
  document.set("country", "\"DE\"");
  CHECK(document.text() == replaced(kConfig, "\"GB\"", "\"DE\""));
  document.set("added", "[1]");
  CHECK(document.text() ==
        replaced(replaced(kConfig, "\"GB\"", "\"DE\""), "\"old\"", "\"old\",\n  \"added\": [1]"));
  document.erase("added");
  document.erase("country");
  CHECK(document.text() == replaced(kConfig, ",\n  \"country\" : \"GB\"", ""));
  document.erase("uuid");
  CHECK(document.text().starts_with("{\n  \"applicationId\": \"1234567\","));
  document.erase("not there");
  CHECK(Json::parse(document.text()).size() == 5);
}

TEST_CASE("config document: from empty to empty") {
  auto document = *ConfigDocument::parse(" { } ");
  CHECK(document.keys().empty());
  document.set("a\"b", "1");
  CHECK(Json::parse(document.text()) == Json{{"a\"b", 1}});
  CHECK(document.value("a\"b") == "1");
  document.set("c", "null");
  CHECK_FALSE(document.value("c"));
  document.erase("a\"b");
  document.erase("c");
  CHECK(Json::parse(document.text()) == Json::object());
}

TEST_CASE("config document: refuses what is not one JSON object") {
  for (const auto* text : {"", "[]", "{", "{\"a\":1}x", "{\"a\":1,\"a\":2}", "null"}) {
    CAPTURE(text);
    const auto document = ConfigDocument::parse(text);
    REQUIRE_FALSE(document);
    CHECK(document.error().code() == ErrorCode::kConfigJson);
  }
}

TEST_CASE("config patch: keys that restart the engine are a step of their own") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kConfig);
  const std::string patch = R"({"hostname":"new","country":"DE","developmentMode":true})";
  CHECK(apply(file, patch, ConfigKeys::kQuiet));
  CHECK(text_at(file) == replaced(kConfig, "\"GB\"", "\"DE\""));
  CHECK_FALSE(apply(file, patch, ConfigKeys::kQuiet));
  CHECK(apply(file, patch, ConfigKeys::kEngineRestarting));
  CHECK(text_at(file) == replaced(replaced(kConfig, "\"GB\"", "\"DE\""), "\"old\"",
                                  "\"new\",\n  \"developmentMode\": true"));
  CHECK_FALSE(apply(file, patch, ConfigKeys::kEngineRestarting));
  CHECK(*previous_values(file, patch) == "{}");
}

TEST_CASE("config patch: merges into nested values and can be undone") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kConfig);
  const auto before = Json::parse(kConfig);
  const std::string patch = R"({"os":{"sshKeys":["b"],"udevRules":{"50":"x"},)"
                            R"("network":{"wifi":null}},"country":null,"ntpServers":"a b"})";
  const auto undo = previous_values(file, patch);
  REQUIRE(undo);
  CHECK(apply(file, patch, ConfigKeys::kQuiet));
  const auto after = Json::parse(text_at(file));
  CHECK(after["os"] == Json::parse(R"({"network":{},"sshKeys":["b"],"udevRules":{"50":"x"}})"));
  CHECK_FALSE(after.contains("country"));
  CHECK(after["ntpServers"] == "a b");
  CHECK(after["deviceApiKey"] == before["deviceApiKey"]);
  CHECK(apply(file, *undo, ConfigKeys::kQuiet));
  CHECK(Json::parse(text_at(file)) == before);
}

TEST_CASE("config patch: refuses keys of the identity and endpoints, and changes nothing") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kConfig);
  for (const auto* key : {"uuid", "deviceApiKey", "apiKey", "applicationId", "apiEndpoint",
                          "listenPort", "installer", "OS", ""}) {
    const auto patch = Json{{key, "x"}, {"country", "DE"}}.dump();
    CAPTURE(patch);
    for (const auto which : {ConfigKeys::kQuiet, ConfigKeys::kEngineRestarting}) {
      const auto changed = apply_config_patch(file, patch, which);
      REQUIRE_FALSE(changed);
      CHECK(changed.error().code() == ErrorCode::kConfigJson);
    }
    CHECK_FALSE(previous_values(file, patch));
  }
  CHECK(text_at(file) == kConfig);
}

TEST_CASE("config patch: a config.json or patch that is none is an error") {
  const Scratch scratch;
  CHECK(apply_config_patch(scratch / "none", "{}", ConfigKeys::kQuiet).error().code() ==
        ErrorCode::kConfigJson);
  const auto broken = scratch.write("broken", "{\"uuid\":");
  CHECK(apply_config_patch(broken, R"({"country":"DE"})", ConfigKeys::kQuiet).error().code() ==
        ErrorCode::kConfigJson);
  CHECK(text_at(broken) == "{\"uuid\":");
  const auto file = scratch.write("config.json", kConfig);
  CHECK_FALSE(apply_config_patch(file, "[]", ConfigKeys::kQuiet));
  CHECK_FALSE(apply_config_patch(file, "{", ConfigKeys::kQuiet));
}

TEST_CASE("config patch: the file keeps its mode") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kConfig);
  std::filesystem::permissions(file, std::filesystem::perms(0640));
  CHECK(apply(file, R"({"country":"DE"})", ConfigKeys::kQuiet));
  CHECK(std::filesystem::status(file).permissions() == std::filesystem::perms(0640));
}

TEST_CASE("network profiles: are added for root alone, and others are left alone") {
  const Scratch scratch;
  (void)scratch.write("system-connections/site", "user's");
  (void)scratch.write("system-connections/office", "old");
  const std::map<std::string, std::string> profiles{{"office", "new"}, {"lab wifi", "psk=1"}};
  CHECK(*add_connections(scratch.path(), profiles) ==
        std::vector<std::string>{"lab wifi", "office"});
  CHECK(text_at(scratch / "system-connections/site") == "user's");
  CHECK(text_at(scratch / "system-connections/office") == "new");
  CHECK(text_at(scratch / "system-connections/lab wifi") == "psk=1");
  CHECK(std::filesystem::status(scratch / "system-connections/lab wifi").permissions() ==
        std::filesystem::perms(0600));
  CHECK(add_connections(scratch.path(), profiles)->empty());
}

TEST_CASE("network profiles: what is replaced is known before, and can be put back") {
  const Scratch scratch;
  const std::string old("psk=old\0\xff", 9);
  (void)scratch.write("system-connections/office", old);
  (void)scratch.write("system-connections/lab", "psk=1");
  const std::map<std::string, std::string> profiles{
      {"office", "psk=new"}, {"lab", "psk=1"}, {"added", "psk=2"}};
  const auto replaced = replaced_connections(scratch.path(), profiles);
  REQUIRE(replaced);
  CHECK(*replaced == std::map<std::string, std::string>{{"office", old}});
  REQUIRE(add_connections(scratch.path(), profiles));
  CHECK(replaced_connections(scratch.path(), profiles)->empty());
  SECTION("as it was") {
    CHECK(*put_back_connections(scratch.path(), profiles, *replaced) ==
          std::vector<std::string>{"office"});
    CHECK(text_at(scratch / "system-connections/office") == old);
    CHECK(text_at(scratch / "system-connections/added") == "psk=2");
  }
  SECTION("but not over what somebody has entered since") {
    (void)scratch.write("system-connections/office", "psk=mine");
    CHECK(put_back_connections(scratch.path(), profiles, *replaced)->empty());
    CHECK(text_at(scratch / "system-connections/office") == "psk=mine");
  }
}

TEST_CASE("network profiles: one that could not be put back is not replaced") {
  const Scratch scratch;
  (void)scratch.write("system-connections/office",
                      std::string(bundle::kMaxConnectionBytes + 1, 'x'));
  const auto replaced = replaced_connections(scratch.path(), {{"office", "new"}});
  REQUIRE_FALSE(replaced);
  CHECK(replaced.error().code() == ErrorCode::kConfigJson);
}

TEST_CASE("network profiles: a name that leads elsewhere or means something to the boot loader") {
  const Scratch scratch;
  for (const auto* name : {"../config.json", ".hidden", "", "a/b", "grubenv", "BootEnv",
                           "resinOS_uEnv.txt", "grub.cfg", "bad\nname"}) {
    CAPTURE(name);
    const auto added = add_connections(scratch.path(), {{"fine", "x"}, {name, "y"}});
    REQUIRE_FALSE(added);
    CHECK(added.error().code() == ErrorCode::kConfigJson);
    CHECK_FALSE(std::filesystem::exists(scratch / "system-connections/fine"));
  }
}

TEST_CASE("config step: looking at config.json leaves alone what another program is writing") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kConfig);
  const auto begun =
      scratch.write(".config.json.0a1b2c3d." + std::string(32, '0') + ".md5sum", "{\"uu");
  const auto undo = previous_values(file, R"({"country":"DE"})");
  REQUIRE(undo);
  CHECK(*undo == R"({"country":"GB"})");
  CHECK(text_at(begun) == "{\"uu");
}
