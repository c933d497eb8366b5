// Which target states are understood, and what of them ends up in the release.
#include "target_state.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

namespace {

const std::string kUuid = "6d2c3c6e9f6f4f4b8b0c1f0e2f9a7c11";
const std::string kCommit = "46ba751f55679ce8fbf2d4266f1fc6b9";

std::string app(const std::string& service_fields = "", const std::string& app_fields = "") {
  return R"({"id":1958513,"name":"my-fleet","class":"fleet",)" + app_fields + R"("releases":{")" +
         kCommit + R"(":{"id":"2345678","services":{"main":{)" + service_fields +
         R"("image":"registry2.balena-cloud.com/v2/9e2d","environment":{"A":"1"},"labels":{}}},
         "volumes":{"data":{}},"networks":{}}}})";
}

std::string apps_json(const std::string& value, const std::string& more = "") {
  return R"({"apps":{")" + kUuid + R"(":)" + value + more + "}}";
}

tool::ReleaseDraft read(const std::string& json, const std::string& uuid = "") {
  auto draft = tool::parse_target_state(json, uuid);
  INFO((draft ? std::string() : draft.error().message()));
  REQUIRE(draft.has_value());
  return *std::move(draft);
}

std::string refused(const std::string& json, const std::string& uuid = "") {
  auto draft = tool::parse_target_state(json, uuid);
  REQUIRE_FALSE(draft.has_value());
  CHECK(draft.error().code() == base::ErrorCode::kTargetStateInvalid);
  return draft.error().message();
}

bool warns(const tool::ReleaseDraft& draft, const std::string& part) {
  return std::any_of(draft.warnings.begin(), draft.warnings.end(), [&](const std::string& warning) {
    return warning.find(part) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("target state: apps.json v3 is taken as it is") {
  const auto draft = read(apps_json(app(
      R"("id":876543,"image_id":5432101,"running":false,"composition":{"tty":true},"contract":{"slug":"c"},)")));
  CHECK(draft.fleet_uuid == kUuid);
  CHECK(draft.commit == kCommit);
  CHECK(draft.app_id == 1958513U);
  CHECK(draft.id == 2345678U);
  CHECK(draft.app_name == "my-fleet");
  CHECK(draft.volumes_json == R"({"data":{}})");
  REQUIRE(draft.services.size() == 1);
  const auto& service = draft.services[0];
  CHECK(service.name == "main");
  CHECK(service.id == 876543U);
  CHECK(service.image_id == 5432101U);
  CHECK_FALSE(service.running);
  CHECK(service.image_reference == "registry2.balena-cloud.com/v2/9e2d");
  CHECK(service.environment.at("A") == "1");
  CHECK(service.composition_json == R"({"tty":true})");
  CHECK(service.contract_json == R"({"slug":"c"})");
  CHECK(draft.warnings.empty());
}

TEST_CASE("target state: ids that only the cloud knows may be missing") {
  const auto draft =
      read(R"({"apps":{")" + kUuid + R"(":{"name":"f","releases":{")" + kCommit +
           R"(":{"services":{"main":{"image":"x","environment":{},"labels":{}}}}}}}})");
  CHECK_FALSE(draft.app_id.has_value());
  CHECK_FALSE(draft.id.has_value());
  CHECK_FALSE(draft.services[0].id.has_value());
  CHECK(draft.services[0].running);
  CHECK(draft.networks_json == "{}");
}

TEST_CASE("target state: the form that balenaCloud answers for a fleet is understood") {
  const auto draft = read(R"({")" + kUuid + R"(":{"name":"f","config":{"RESIN_X":"1"},"apps":{")" +
                          kUuid + R"(":)" + app() + "}}}");
  CHECK(draft.commit == kCommit);
  CHECK(draft.config_json == R"({"RESIN_X":"1"})");
  CHECK_FALSE(draft.pin);
}

TEST_CASE("target state: host and supervisor apps are left out and said so") {
  const std::string host = R"(,"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":{"class":"app","is_host":true})";
  const auto draft = read(apps_json(app(), host));
  CHECK(draft.fleet_uuid == kUuid);
  CHECK(warns(draft, "aaaaaaaa"));
  CHECK(read(apps_json(app(), host), kUuid).fleet_uuid == kUuid);
}

TEST_CASE("target state: another fleet than the one asked for is refused") {
  CHECK(refused(apps_json(app()), std::string(32, 'b')).find("--fleet-uuid") != std::string::npos);
  CHECK(refused(apps_json(app(), R"(,"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb":{"class":"fleet"})"))
            .find("2 fleet apps") != std::string::npos);
}

TEST_CASE("target state: older and broken forms are refused") {
  CHECK(refused("[]").find("v1") != std::string::npos);
  CHECK(refused(R"({"apps":{"1234":{}}})").find("v2") != std::string::npos);
  CHECK_FALSE(refused("{}").empty());
  CHECK_FALSE(refused("{").empty());
  CHECK_FALSE(refused(R"({"apps":{}})").empty());
  CHECK_FALSE(refused(R"({"apps":{"x":1}})").empty());
  CHECK_FALSE(refused(apps_json(R"({"releases":{}})")).empty());
  CHECK_FALSE(refused(apps_json(R"({"releases":{"x":{"services":{"a":{}}}}})")).empty());
}

TEST_CASE("target state: values of the wrong type are named") {
  CHECK(refused(apps_json(app(R"("id":-1,)"))).find(".id must be") != std::string::npos);
  CHECK(refused(apps_json(app(R"("image_id":1.5,)"))).find(".image_id") != std::string::npos);
  CHECK(refused(apps_json(app(R"("running":"yes",)"))).find(".running") != std::string::npos);
  CHECK(refused(apps_json(app(R"("composition":[],)"))).find(".composition") != std::string::npos);
  const std::string number = R"({"apps":{")" + kUuid + R"(":{"releases":{")" + kCommit +
                             R"(":{"services":{"main":{"environment":{"A":1}}}}}}}})";
  CHECK(refused(number).find("environment.A") != std::string::npos);
}

TEST_CASE("target state: what nobody knows is left out and said so") {
  CHECK(warns(read(apps_json(app(R"("surprise":1,)", R"("extra":2,)"))), "surprise"));
  CHECK(warns(read(apps_json(app("", R"("extra":2,)"))), "extra"));
}
