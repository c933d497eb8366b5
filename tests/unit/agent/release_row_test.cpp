#include "install/release_row.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "base/json.hpp"
#include "support/fake_device.hpp"

namespace {

using agent::install::AppRow;
using agent::install::make_row;
using agent::install::read_services;
using agent::install::RowService;
using base::ErrorCode;
using support::digest_of;

constexpr std::uint64_t kOwnIds = std::uint64_t{1} << 40U;

std::string reference(const std::string& image) {
  return "registry.invalid/v2/" + image + "@" + digest_of("manifest of " + image).text();
}

bundle::Service service(const std::string& name, const std::string& image) {
  return {.name = name,
          .image = digest_of(image),
          .image_reference = reference(image),
          .composition_json = "{}"};
}

bundle::Release release_of(std::vector<bundle::Service> services) {
  return {.commit = std::string(32, '2'),
          .app_name = "test-fleet",
          .services = std::move(services),
          .volumes_json = R"({"data":{}})",
          .networks_json = "{}"};
}

std::map<std::string, RowService> by_name(const AppRow& row) {
  const auto services = read_services(row);
  REQUIRE(services);
  std::map<std::string, RowService> map;
  for (const auto& one : *services) {
    map.emplace(one.name, one);
  }
  return map;
}

AppRow present_row() {
  return support::FakeDevice().supervisor.database.rows.front();
}

}  // namespace

TEST_CASE("release row: a service of the same name keeps its id, a new one gets one of our own") {
  const auto present = present_row();
  const auto row =
      make_row(release_of({service("new", "n"), service("s0", "s0 new")}), present, {present});
  REQUIRE(row);
  const auto services = by_name(*row);
  CHECK(services.size() == 2);
  CHECK(services.at("s0").service_id == 22);
  CHECK(services.at("s0").image_id >= kOwnIds);
  CHECK(services.at("new").service_id >= kOwnIds);
  CHECK(row->release_id >= kOwnIds);
  CHECK(row->commit == std::string(32, '2'));
  const std::set<std::uint64_t> fresh{row->release_id, services.at("s0").image_id,
                                      services.at("new").image_id, services.at("new").service_id};
  CHECK(fresh.size() == 4);
}

TEST_CASE("release row: an image with the same digest keeps its image id") {
  const auto present = present_row();
  auto moved = service("s0", "s0");
  moved.image_reference = "other.invalid/name@" + digest_of("manifest of s0").text();
  const auto row = make_row(release_of({moved}), present, {present});
  REQUIRE(row);
  CHECK(by_name(*row).at("s0").image_id == 32);
}

TEST_CASE("release row: new ids are above those of every row, own ones too") {
  const auto present = present_row();
  auto other = present;
  other.uuid = std::string(32, 'e');
  other.release_id = kOwnIds + 1000;
  const auto row = make_row(release_of({service("new", "n")}), present, {other, present});
  REQUIRE(row);
  CHECK(row->release_id > kOwnIds + 1000);
  CHECK(by_name(*row).at("new").image_id > kOwnIds + 1000);
}

TEST_CASE("release row: a service of another app does not give its id") {
  const auto present = present_row();
  auto other = present;
  other.uuid = std::string(32, 'e');
  other.services_json = base::to_canonical(base::Json::array(
      {{{"serviceName", "new"}, {"serviceId", 99}, {"imageId", 98}, {"image", reference("n")}}}));
  const auto row = make_row(release_of({service("new", "n")}), present, {other, present});
  REQUIRE(row);
  CHECK(by_name(*row).at("new").service_id >= kOwnIds);
}

TEST_CASE("release row: ids that the bundle gives are taken") {
  const auto present = present_row();
  auto given = service("s0", "s0 new");
  given.id = 1234;
  given.image_id = 5678;
  auto release = release_of({given});
  release.id = 91;
  const auto row = make_row(release, present, {present});
  REQUIRE(row);
  CHECK(row->release_id == 91);
  CHECK(by_name(*row).at("s0").service_id == 1234);
  CHECK(by_name(*row).at("s0").image_id == 5678);
}

TEST_CASE("release row: a volume that is defined differently is refused, and named") {
  const auto present = present_row();
  auto release = release_of({service("s0", "s0")});
  release.volumes_json = R"({"data":{"driver_opts":{"type":"tmpfs"}}})";
  const auto row = make_row(release, present, {present});
  REQUIRE_FALSE(row);
  CHECK(row.error().code() == ErrorCode::kVolumeDefinition);
  CHECK(row.error().message().find("data") != std::string::npos);
}

TEST_CASE("release row: no definition and an empty one are the same; other volumes may come") {
  const auto present = present_row();
  auto release = release_of({service("s0", "s0")});
  release.volumes_json = R"({"data":null,"more":{"labels":{"a":"b"}}})";
  const auto row = make_row(release, present, {present});
  REQUIRE(row);
  CHECK(row->volumes_json == release.volumes_json);
}

TEST_CASE("release row: columns that are not what the supervisor writes are refused") {
  for (const std::string text :
       {"", "{", "{}", "[1]", R"([{"serviceName":"a"}])",
        R"([{"serviceName":"a","image":"i","serviceId":-1,"imageId":2}])"}) {
    auto present = present_row();
    present.services_json = text;
    CAPTURE(text);
    const auto row = make_row(release_of({service("s0", "s0")}), present, {present});
    REQUIRE_FALSE(row);
    CHECK(row.error().code() == ErrorCode::kSupervisorState);
  }
}

TEST_CASE("release row: a stopped service stays stopped, and is known as such") {
  const auto present = present_row();
  auto stopped = service("s0", "s0");
  stopped.running = false;
  const auto row = make_row(release_of({service("new", "n"), stopped}), present, {present});
  REQUIRE(row);
  CHECK(agent::install::stopped_services(*row) == std::set<std::string>{"s0"});
}

TEST_CASE("release row: the pin names app and commit") {
  CHECK(agent::install::pin_value(present_row()) ==
        R"({"app":7,"commit":")" + std::string(32, '1') + R"("})");
}

TEST_CASE("release row: the name that the supervisor looks for has no digest and no port's colon") {
  using agent::install::latest_name;
  CHECK(latest_name(reference("a")) == "registry.invalid/v2/a:latest");
  CHECK(latest_name("localhost:5000/a@sha256:00") == "localhost:5000/a:latest");
  CHECK(latest_name("localhost:5000/a:tag@sha256:00") == "localhost:5000/a:latest");
  CHECK(latest_name("a:tag") == "a:latest");
  CHECK(latest_name("a") == "a:latest");
}
