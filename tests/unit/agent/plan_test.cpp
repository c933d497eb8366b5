// Which bundles fit a device, and what is to be done to install one.
#include <catch2/catch.hpp>

#include "plan/compatibility.hpp"
#include "plan/install_plan.hpp"

namespace {

using agent::plan::check_compatibility;
using agent::plan::compare_versions;
using agent::plan::DeviceFacts;
using agent::plan::make_plan;
using base::ErrorCode;

oci::Digest digest(const std::string& text) {
  return oci::Digest::of(base::as_bytes(text));
}

constexpr std::uint64_t kMiB = 1024 * 1024;

/// A layer of `mebibytes` that is stored at half its size.
bundle::Layer add_layer(bundle::Manifest& manifest, const std::string& name,
                        std::uint64_t mebibytes) {
  const auto diff_id = digest(name);
  const auto blob = digest(name + ".stored");
  manifest.blobs.emplace(
      blob, bundle::Blob{
                blob, mebibytes * kMiB / 2, oci::Encoding::kZstd, diff_id, mebibytes * kMiB, {}});
  return {diff_id, blob, mebibytes * kMiB, 100};
}

bundle::Manifest two_image_manifest() {
  bundle::Manifest manifest;
  manifest.sequence = 5;
  manifest.targets.fleet_uuid = std::string(32, 'f');
  manifest.targets.device_types = {"raspberrypi4-64", "generic-amd64"};
  manifest.release.commit = std::string(32, '2');
  const auto base_layer = add_layer(manifest, "base", 100);
  manifest.images.push_back({digest("a"),
                             digest("a.m"),
                             "amd64",
                             "linux",
                             "",
                             {base_layer, add_layer(manifest, "a", 10)}});
  manifest.images.push_back({digest("b"),
                             digest("b.m"),
                             "amd64",
                             "linux",
                             "",
                             {base_layer, add_layer(manifest, "b", 20)}});
  manifest.release.services.push_back({.name = "main", .image = digest("a")});
  manifest.release.services.push_back({.name = "side", .image = digest("b")});
  return manifest;
}

DeviceFacts matching_device() {
  return {.device_uuid = std::string(32, 'd'),
          .device_type = "generic-amd64",
          .fleet_uuid = std::string(32, 'f'),
          .architecture = "amd64",
          .os_version = "6.5.3",
          .supervisor_version = "17.6.23",
          .running_commit = std::string(32, '1'),
          .highest_sequence = 4,
          .free_bytes = 1000 * kMiB,
          .free_inodes = 100'000,
          .engine_spools_pulls = false,
          .images = {},
          .layers = {}};
}

ErrorCode refusal(const bundle::Manifest& manifest, const DeviceFacts& facts) {
  const auto status = check_compatibility(manifest, facts);
  REQUIRE_FALSE(status);
  return status.error().code();
}

}  // namespace

TEST_CASE("compatibility: versions are compared number by number") {
  CHECK(compare_versions("6.5.3", "6.12.0") == -1);
  CHECK(compare_versions("2.101.0", "2.99.9") == 1);
  CHECK(compare_versions("v17.6", "17.6.0") == 0);
  CHECK(compare_versions("6.5.3+rev2", "6.5.3+rev10") == -1);
  CHECK(compare_versions("6.5.3", "6.5.3+rev1") == -1);
  CHECK(compare_versions("7.0.0-rc2", "7.0.0") == -1);
  CHECK(compare_versions("7.0.0-rc2", "7.0.0-rc10") == -1);
  CHECK_FALSE(compare_versions("", "1"));
  CHECK_FALSE(compare_versions("six", "6"));
  CHECK_FALSE(compare_versions("6..1", "6"));
  CHECK_FALSE(compare_versions("99999999999999999999", "6"));
  CHECK_FALSE(compare_versions(std::string(300, '1'), "6"));
}

TEST_CASE("compatibility: each mismatch has its own error") {
  auto manifest = two_image_manifest();
  auto facts = matching_device();
  REQUIRE(check_compatibility(manifest, facts));

  facts.fleet_uuid = std::string(32, 'e');
  CHECK(refusal(manifest, facts) == ErrorCode::kWrongFleet);
  facts = matching_device();
  facts.device_type = "raspberrypi3";
  CHECK(refusal(manifest, facts) == ErrorCode::kWrongDeviceType);
  facts = matching_device();
  facts.architecture = "arm64";
  CHECK(refusal(manifest, facts) == ErrorCode::kArchitecture);
  facts = matching_device();
  facts.own_service = "offline-updater";
  CHECK(refusal(manifest, facts) == ErrorCode::kReleaseWithoutAgent);
  facts.own_service = manifest.release.services.front().name;
  CHECK(check_compatibility(manifest, facts));
  facts = matching_device();
  facts.highest_sequence = 6;
  CHECK(refusal(manifest, facts) == ErrorCode::kSequenceOld);
  facts.highest_sequence = 5;
  CHECK(check_compatibility(manifest, facts));

  manifest.targets.device_uuids = {std::string(32, 'a')};
  CHECK(refusal(manifest, matching_device()) == ErrorCode::kDeviceNotListed);
  manifest.targets.device_uuids.push_back(std::string(32, 'd'));
  CHECK(check_compatibility(manifest, matching_device()));
}

TEST_CASE("compatibility: a version outside the range, or unknown, is refused") {
  auto manifest = two_image_manifest();
  auto facts = matching_device();
  manifest.targets.os_version = {.minimum = "6.5.3", .maximum = "6.5.3"};
  CHECK(check_compatibility(manifest, facts));
  facts.os_version = "6.5.2";
  CHECK(refusal(manifest, facts) == ErrorCode::kOsVersion);
  facts.os_version = "6.5.4";
  CHECK(refusal(manifest, facts) == ErrorCode::kOsVersion);
  facts.os_version = "";
  CHECK(refusal(manifest, facts) == ErrorCode::kOsVersion);
  facts = matching_device();
  manifest.targets.supervisor_version.minimum = "18.0.0";
  CHECK(refusal(manifest, facts) == ErrorCode::kSupervisorVersion);
}

TEST_CASE("plan: a layer that two images share is counted once") {
  const auto plan = make_plan(two_image_manifest(), matching_device());
  REQUIRE(plan);
  CHECK_FALSE(plan->up_to_date);
  CHECK(plan->medium_bytes == (100 + 10 + 20) * kMiB / 2);
  REQUIRE(plan->images.size() == 2);
  CHECK(plan->images[0].missing_layers == 2);
  CHECK(plan->images[1].missing_layers == 1);
  CHECK(plan->images[1].transfer_bytes == 20 * kMiB);
  CHECK(plan->images[0].services == std::vector<std::string>{"main"});
  CHECK(plan->needed_bytes > 130 * kMiB);
  CHECK(plan->needed_bytes < 200 * kMiB);
}

TEST_CASE("plan: layers and images that the device has cost nothing") {
  auto facts = matching_device();
  facts.layers.insert(agent::plan::chain_id(nullptr, digest("base")));
  auto plan = make_plan(two_image_manifest(), facts);
  REQUIRE(plan);
  CHECK(plan->medium_bytes == 15 * kMiB);

  facts.images = {digest("a"), digest("b")};
  plan = make_plan(two_image_manifest(), facts);
  REQUIRE(plan);
  CHECK(plan->medium_bytes == 0);
  CHECK(plan->images[0].present);
}

TEST_CASE("plan: a layer over another parent is another layer") {
  auto facts = matching_device();
  const auto other = digest("other");
  facts.layers.insert(agent::plan::chain_id(&other, digest("base")));
  const auto plan = make_plan(two_image_manifest(), facts);
  REQUIRE(plan);
  CHECK(plan->images[0].missing_layers == 2);
}

TEST_CASE("plan: an engine that spools needs the largest image once more") {
  auto facts = matching_device();
  const auto streamed = make_plan(two_image_manifest(), facts);
  facts.engine_spools_pulls = true;
  const auto spooled = make_plan(two_image_manifest(), facts);
  REQUIRE(streamed);
  REQUIRE(spooled);
  CHECK(spooled->needed_bytes - streamed->needed_bytes == 110 * kMiB);
}

TEST_CASE("plan: exactly enough room is enough, one less is refused") {
  auto facts = matching_device();
  const auto plan = make_plan(two_image_manifest(), facts);
  REQUIRE(plan);
  facts.free_bytes = plan->needed_bytes;
  facts.free_inodes = plan->needed_inodes;
  CHECK(make_plan(two_image_manifest(), facts));
  facts.free_bytes -= 1;
  const auto no_space = make_plan(two_image_manifest(), facts);
  REQUIRE_FALSE(no_space);
  CHECK(no_space.error().code() == ErrorCode::kNotEnoughSpace);
  facts.free_bytes += 1;
  facts.free_inodes -= 1;
  const auto no_inodes = make_plan(two_image_manifest(), facts);
  REQUIRE_FALSE(no_inodes);
  CHECK(no_inodes.error().code() == ErrorCode::kNotEnoughInodes);
}

TEST_CASE("plan: the release that runs already is up to date, also on a full disk") {
  auto facts = matching_device();
  facts.running_commit = std::string(32, '2');
  facts.free_bytes = 0;
  const auto plan = make_plan(two_image_manifest(), facts);
  REQUIRE(plan);
  CHECK(plan->up_to_date);
}
