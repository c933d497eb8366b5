// Which devices may take a host OS: decided before anything is touched.
#include "plan/os_plan.hpp"

#include <catch2/catch.hpp>
#include <functional>

#include "plan/install_plan.hpp"

namespace {

using agent::plan::DeviceFacts;
using agent::plan::OsFacts;
using base::ErrorCode;

oci::Digest digest(const std::string& text) {
  return oci::Digest::of(base::as_bytes(text));
}

constexpr std::uint64_t kMegabyte = 1'000'000;

bundle::Manifest sample() {
  bundle::Manifest manifest;
  manifest.targets.fleet_uuid = "fleet";
  manifest.targets.device_types = {"pi"};
  manifest.os = bundle::HostOs{.image = digest("os"),
                               .version = "6.6.0+rev1",
                               .meta_version = "6.6.0",
                               .device_type = "pi",
                               .boot_files = {{"kernel.img", 5000}, {"config.txt", 900'000}},
                               .boot_volume_bytes = 10 * kMegabyte,
                               .signed_for_secure_boot = false};
  bundle::Image image{.id = digest("os"), .manifest = digest("m")};
  image.architecture = "arm64";
  image.layers.push_back({.diff_id = digest("d"),
                          .blob = digest("b"),
                          .installed_bytes = 200 * kMegabyte,
                          .installed_inodes = 10'000});
  manifest.images.push_back(image);
  return manifest;
}

DeviceFacts device() {
  DeviceFacts facts;
  facts.fleet_uuid = "fleet";
  facts.device_type = "pi";
  facts.architecture = "arm64";
  facts.supervisor_version = "17.0.0";
  facts.running_commit = "1";
  facts.config_json = "{}";
  facts.free_bytes = facts.free_inodes = 1'000 * kMegabyte;
  facts.os = OsFacts{.version = "6.5.3", .meta_version = "6.5.3", .device_type = "pi"};
  facts.os->slot_bytes = 300 * kMegabyte;
  facts.os->slot_inodes = 20'000;
  facts.os->boot_free_bytes = 2 * kMegabyte;
  facts.os->boot_block_bytes = 4096;
  return facts;
}

struct Refusal {
  const char* what;
  ErrorCode code;
  std::function<void(bundle::Manifest&, DeviceFacts&)> change;
};

}  // namespace

TEST_CASE("os plan: an OS that fits is planned for its slot, not for the data partition") {
  const auto plan = agent::plan::make_plan(sample(), device());
  REQUIRE(plan);
  CHECK(plan->install_os);
  CHECK_FALSE(plan->switch_release);
  CHECK_FALSE(plan->up_to_date);
  CHECK(plan->images.empty());
  CHECK(plan->from_os == "6.5.3");
  CHECK(plan->to_os == "6.6.0+rev1");
}

TEST_CASE("os plan: everything that hostapp-update does not check is refused beforehand") {
  const std::vector<Refusal> refusals{
      {"no balenaOS", ErrorCode::kOsUnsupported, [](auto&, auto& f) { f.os.reset(); }},
      {"type of config.json", ErrorCode::kWrongDeviceType,
       [](auto& m, auto& f) {
         f.device_type = "other";
         m.targets.device_types = {"other"};
       }},
      {"type of the running OS", ErrorCode::kWrongDeviceType,
       [](auto&, auto& f) { f.os->device_type = "other"; }},
      {"too old", ErrorCode::kOsUnsupported,
       [](auto&, auto& f) { f.os->meta_version = "2.100.9"; }},
      {"tool", ErrorCode::kOsUnsupported, [](auto&, auto& f) { f.os->missing_tools = {"fatrw"}; }},
      {"aufs", ErrorCode::kOsUnsupported, [](auto&, auto& f) { f.os->old_storage = true; }},
      {"one slot", ErrorCode::kOsUnsupported, [](auto&, auto& f) { f.os->one_slot = true; }},
      {"other disk", ErrorCode::kOsUnsupported, [](auto&, auto& f) { f.os->other_disk = true; }},
      {"unconfirmed", ErrorCode::kOsUnconfirmed,
       [](auto&, auto& f) { f.os_state.unconfirmed = true; }},
      {"lock", ErrorCode::kUpdateInProgress,
       [](auto&, auto& f) { f.os_state.other_update = true; }},
      {"downgrade", ErrorCode::kOsDowngrade,
       [](auto&, auto& f) { f.os->version = f.os->meta_version = "6.6.0+rev2"; }},
      {"secure boot", ErrorCode::kSecureBoot, [](auto&, auto& f) { f.os->secure_boot = true; }},
      {"slot", ErrorCode::kOsSlotTooSmall,
       [](auto&, auto& f) { f.os->slot_bytes = 215 * kMegabyte; }},
      {"inodes", ErrorCode::kOsSlotTooSmall, [](auto&, auto& f) { f.os->slot_inodes = 10'000; }},
      {"boot", ErrorCode::kBootPartitionFull,
       [](auto&, auto& f) { f.os->boot_free_bytes = 524'288 + 3 * 8192 - 1; }},
      {"older supervisor", ErrorCode::kSupervisorDowngrade,
       [](auto& m, auto&) { m.supervisor = bundle::SupervisorImage{.version = "16.9.9"}; }},
      {"supervisor not known", ErrorCode::kSupervisorVersion, [](auto& m, auto& f) {
         m.supervisor = bundle::SupervisorImage{.version = "18.0.0"};
         f.supervisor_version = "";
       }}};
  for (const auto& refusal : refusals) {
    auto manifest = sample();
    auto facts = device();
    refusal.change(manifest, facts);
    const auto plan = agent::plan::make_plan(manifest, facts);
    INFO(refusal.what);
    REQUIRE_FALSE(plan);
    CHECK(plan.error().code() == refusal.code);
  }
}

TEST_CASE("os plan: settings wait for an OS that is settled, a release alone does not") {
  auto manifest = sample();
  manifest.os.reset();
  manifest.images.clear();
  auto facts = device();
  facts.os.reset();
  facts.os_state.unconfirmed = GENERATE(true, false);
  facts.os_state.other_update = !facts.os_state.unconfirmed;
  CHECK(agent::plan::make_plan(manifest, facts)->up_to_date);
  manifest.config.patch_json = R"({"country":"CH"})";
  const auto plan = agent::plan::make_plan(manifest, facts);
  REQUIRE_FALSE(plan);
  CHECK(plan.error().code() ==
        (facts.os_state.unconfirmed ? ErrorCode::kOsUnconfirmed : ErrorCode::kUpdateInProgress));
}

TEST_CASE("os plan: what is refused by default can be allowed by signed policy or a signed image") {
  auto manifest = sample();
  auto facts = device();
  facts.os->version = facts.os->meta_version = "7.0.0";
  facts.os->secure_boot = true;
  manifest.policy.allow_os_downgrade = true;
  manifest.os->signed_for_secure_boot = true;
  CHECK(agent::plan::make_plan(manifest, facts));
}

TEST_CASE("os plan: the boot partition's arithmetic is exact to the block") {
  const auto manifest = sample();
  auto facts = device();
  // kernel.img: two blocks, new; config.txt belongs to the user and is not copied. Twice the
  // largest file for fatrw, and what the OS's own hook keeps free.
  CHECK(agent::plan::os_room(manifest, *facts.os).boot_bytes == 8192 + 2 * 8192 + 524'288);
  facts.os->boot_files = {{"kernel.img", 4096}};
  CHECK(agent::plan::os_room(manifest, *facts.os).boot_bytes == 4096 + 2 * 8192 + 524'288);
  facts.os->boot_files = {{"kernel.img", 40'960}};
  CHECK(agent::plan::os_room(manifest, *facts.os).boot_bytes == 2 * 8192 + 524'288);
}

TEST_CASE("os plan: on that OS already, only the rest is left to do") {
  auto manifest = sample();
  auto facts = device();
  facts.os->version = "6.6.0+rev1";
  facts.os->slot_bytes = 0;  // does not matter any more
  auto plan = agent::plan::make_plan(manifest, facts);
  REQUIRE(plan);
  CHECK(plan->up_to_date);
  manifest.config.patch_json = R"({"country":"CH"})";
  plan = agent::plan::make_plan(manifest, facts);
  REQUIRE(plan);
  CHECK(plan->change_settings);
  facts.config_json = R"({"country":"CH","uuid":"d"})";
  CHECK(agent::plan::make_plan(manifest, facts)->up_to_date);
}
