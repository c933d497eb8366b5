// What the agent finds out about a device, and which bundle of a medium it takes then.
#include <catch2/catch.hpp>

#include "bundle_choice.hpp"
#include "device_survey.hpp"
#include "support/update_bench.hpp"

namespace {

using agent::choose_bundle;
using agent::parse_os_version;
using agent::read_identity;
using base::ErrorCode;
using support::Scratch;
using support::SignedBundle;
using support::UpdateBench;

base::Result<agent::DeviceIdentity> identity_of(const std::string& config_json) {
  const Scratch scratch;
  return read_identity(scratch.write("config.json", config_json));
}

base::Result<agent::Survey> survey(UpdateBench& bench) {
  const auto ledger = bench.ledger();
  return agent::survey_device(bench.config, bench.device.engine, bench.device.supervisor.database,
                              bench.device.supervisor, ledger, /*with_os=*/true);
}

/// Bundles as they were opened from a medium, in this order.
std::vector<agent::intake::VerifiedBundle> opened(const std::vector<const SignedBundle*>& bundles) {
  std::vector<agent::intake::VerifiedBundle> result;
  for (const auto* bundle : bundles) {
    agent::MediumContent content;
    agent::open_bundles(bundle->open(), bundle->trust(), content);
    REQUIRE(content.bundles.size() == 1);
    result.push_back(std::move(content.bundles.front()));
  }
  return result;
}

}  // namespace

TEST_CASE("survey: the application's id may be a number or a text") {
  for (const std::string id : {"7", "\"7\""}) {
    const auto identity =
        identity_of(R"({"uuid":"u","deviceType":"t","apiEndpoint":"https://a","applicationId":)" +
                    id + R"(,"other":[1]})");
    REQUIRE(identity);
    CHECK(identity->application_id == 7);
    CHECK(identity->uuid == "u");
    CHECK(identity->device_type == "t");
    CHECK(identity->api_endpoint == "https://a");
  }
  const auto offline = identity_of(R"({"uuid":"u","deviceType":"t","applicationId":7})");
  REQUIRE(offline);
  CHECK(offline->api_endpoint.empty());
}

TEST_CASE("survey: a config.json without an identity is refused") {
  const std::string text =
      GENERATE("", "{", "[]", "{}", R"({"uuid":"u","deviceType":"t"})",
               R"({"deviceType":"t","applicationId":7})", R"({"uuid":"u","applicationId":7})",
               R"({"uuid":"u","deviceType":"t","applicationId":"7x"})",
               R"({"uuid":"u","deviceType":"t","applicationId":""})",
               R"({"uuid":"u","deviceType":"t","applicationId":-7})",
               R"({"uuid":"u","deviceType":"t","applicationId":7.5})",
               R"({"uuid":1,"deviceType":"t","applicationId":7})");
  CAPTURE(text);
  const auto identity = identity_of(text);
  REQUIRE_FALSE(identity);
  CHECK(identity.error().code() == ErrorCode::kDeviceFacts);
  CHECK(read_identity("/nonexistent/config.json").error().code() == ErrorCode::kDeviceFacts);
}

TEST_CASE("survey: a write of config.json that was cut off counts as the OS's own tool has it") {
  const Scratch scratch;
  const std::string whole = R"({"uuid":"u","deviceType":"t","applicationId":7})";
  // md5sum of the text above
  (void)scratch.write(".config.json.0a1b2c3d.5db9fe20d5192bee58d696e06cba6fcc.md5sum", whole);
  const auto identity = read_identity(scratch.write("config.json", "{\"uu"));
  REQUIRE(identity);
  CHECK(identity->uuid == "u");
}

TEST_CASE("survey: the OS version is that of balenaOS where there are several") {
  CHECK(parse_os_version("ID=balena-os\nVERSION=\"6.5.3+rev2\"\nVERSION_ID=\"6.5.3\"\n"
                         "META_BALENA_VERSION=\"6.5.4\"\n") == "6.5.4");
  CHECK(parse_os_version("VERSION=\"1.0 (x)\"\nVERSION_ID=12\n") == "12");
  CHECK(parse_os_version("VERSION=\"1.0 (x)\"") == "1.0 (x)");
  CHECK(parse_os_version("XVERSION=1\nNAME=VERSION=2\n").empty());
  CHECK(parse_os_version("").empty());
  CHECK(parse_os_version("VERSION_ID=\"") == "\"");
}

TEST_CASE("survey: the facts are those of the device") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  const auto result = survey(bench);
  REQUIRE(result);
  const auto& facts = result->facts;
  CHECK(facts.device_uuid == std::string(32, 'd'));
  CHECK(facts.device_type == "generic-amd64");
  CHECK(facts.fleet_uuid == std::string(32, 'f'));
  CHECK(facts.running_commit == std::string(32, '1'));
  CHECK(facts.os_version == "6.5.3");
  CHECK(facts.supervisor_version == "17.6.23");
  CHECK(facts.architecture == "amd64");
  CHECK(facts.free_bytes > 0);
  CHECK(facts.images.size() == 3);
  CHECK(facts.layers.contains(support::digest_of("layer of s0")));
}

TEST_CASE("survey: a fleet that the supervisor does not run is refused") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  bench.device.supervisor.database.rows.front().app_id = 8;
  const auto result = survey(bench);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kSupervisorState);
}

TEST_CASE("survey: a supervisor that does not tell its version is no hindrance") {
  const SignedBundle bundle;
  UpdateBench bench(bundle);
  bench.device.faults.on_call = [&](const std::string& call) {
    if (call == "api.version") {
      bench.device.faults.fail_this_call();
    }
  };
  const auto result = survey(bench);
  REQUIRE(result);
  CHECK(result->facts.supervisor_version == "17.6.23");  // of supervisor.conf
}

TEST_CASE("choice: the newest bundle that fits is taken, and the others are told why not") {
  const SignedBundle old(5);
  const SignedBundle fitting(6);
  SignedBundle foreign(7);
  foreign.built.manifest.targets.fleet_uuid = std::string(32, 'e');
  foreign.sign();
  UpdateBench bench(old);
  const auto facts = survey(bench)->facts;
  const auto bundles = opened({&old, &foreign, &fitting});
  const auto choice =
      choose_bundle(bundles, {{"broken.bundle", base::Error(ErrorCode::kSignatureInvalid, "x")}},
                    facts, bench.ledger());
  REQUIRE(choice.chosen);
  CHECK(*choice.chosen == 2);
  REQUIRE(choice.plan);
  CHECK(choice.plan->images.size() == 2);
  REQUIRE(choice.others.size() == 3);
  CHECK(choice.others[0].why.code() == ErrorCode::kSignatureInvalid);
  CHECK(choice.others[1].why.code() == ErrorCode::kWrongFleet);
  CHECK(choice.others[2].why.code() == ErrorCode::kSequenceOld);
}

TEST_CASE("choice: of the same sequence, the one made later is taken") {
  const SignedBundle early(5);
  SignedBundle late(5);
  late.built.manifest.created_at += 1;
  late.sign();
  UpdateBench bench(early);
  const auto facts = survey(bench)->facts;
  CHECK(choose_bundle(opened({&early, &late}), {}, facts, bench.ledger()).chosen == 1U);
  CHECK(choose_bundle(opened({&late, &early}), {}, facts, bench.ledger()).chosen == 0U);
}

TEST_CASE("choice: a bundle that failed here before makes way for an older one that did not") {
  const SignedBundle old(5);
  const SignedBundle failed(6);
  UpdateBench bench(old);
  const auto facts = survey(bench)->facts;
  const auto bundles = opened({&failed, &old});
  auto ledger = bench.ledger();
  REQUIRE(ledger.failed(bundles[0].digest(), 6, 1,
                        base::Error(ErrorCode::kReleaseUnhealthy, "it crashed")));
  const auto choice = choose_bundle(bundles, {}, facts, ledger);
  CHECK(choice.chosen == 1U);
  REQUIRE(choice.others.size() == 1);
  CHECK(choice.others[0].why.code() == ErrorCode::kBundleFailedBefore);
  CHECK_THAT(choice.others[0].why.message(), Catch::Contains("it crashed"));
  REQUIRE(ledger.forget(bundles[0].digest()));
  CHECK(choose_bundle(bundles, {}, facts, ledger).chosen == 0U);
}

TEST_CASE("choice: nothing fits, and nothing is taken") {
  const SignedBundle bundle(5);
  UpdateBench bench(bundle);
  auto facts = survey(bench)->facts;
  facts.highest_sequence = 6;
  const auto choice = choose_bundle(opened({&bundle}), {}, facts, bench.ledger());
  CHECK_FALSE(choice.chosen);
  CHECK_FALSE(choice.plan);
  REQUIRE(choice.others.size() == 1);
  CHECK(choice.others[0].why.code() == ErrorCode::kSequenceOld);
}
