#include "plan/install_plan.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "base/json.hpp"
#include "plan/compatibility.hpp"
#include "plan/os_plan.hpp"
#include "plan/room.hpp"

namespace agent::plan {
namespace {

using base::Error;
using base::ErrorCode;

// What others write meanwhile (logs, databases): never planned away.
constexpr std::uint64_t kReserveBytes = std::uint64_t{32} * 1024 * 1024;
constexpr std::uint64_t kReserveInodes = 256;

void add(const base::Room& room, InstallPlan& plan) {
  plan.needed_bytes += room.bytes;
  plan.needed_inodes += room.inodes;
}

/// Adds what pulling `image` costs to the plan; layers that an earlier image brings are free.
PlannedImage plan_image(const bundle::Manifest& manifest, const bundle::Image& image,
                        const DeviceFacts& facts, std::set<oci::Digest>& planned_layers,
                        InstallPlan& plan) {
  PlannedImage planned{.id = image.id};
  for (const auto& service : manifest.release.services) {
    if (service.image == image.id) {
      planned.services.push_back(service.name);
    }
  }
  planned.present = facts.images.contains(image.id);
  if (planned.present) {
    return planned;
  }
  std::optional<oci::Digest> parent;
  for (const auto& layer : image.layers) {
    const auto chain = chain_id(parent ? &*parent : nullptr, layer.diff_id);
    parent = chain;
    if (facts.layers.contains(chain) || !planned_layers.insert(chain).second) {
      continue;
    }
    const auto& blob = manifest.blobs.at(layer.blob);
    planned.missing_layers += 1;
    planned.transfer_bytes += blob.uncompressed_size_bytes;
    plan.medium_bytes += blob.size_bytes;
    add(layer_room(layer), plan);
  }
  add(image_room(), plan);
  return planned;
}

base::Status check_room(const InstallPlan& plan, const DeviceFacts& facts) {
  if (plan.needed_bytes > facts.free_bytes) {
    return Error(ErrorCode::kNotEnoughSpace, megabytes(plan.needed_bytes) + " are needed, " +
                                                 megabytes(facts.free_bytes) + " are free: free " +
                                                 megabytes(plan.needed_bytes - facts.free_bytes) +
                                                 " on the device's data partition");
  }
  if (plan.needed_inodes > facts.free_inodes) {
    return Error(ErrorCode::kNotEnoughInodes,
                 std::to_string(plan.needed_inodes) + " files are needed, " +
                     std::to_string(facts.free_inodes) +
                     " are free: remove files on the device's data partition");
  }
  return base::ok();
}

/// Whether config.json and the connections already are as the bundle wants them.
bool has_config(const bundle::ConfigChange& change, const DeviceFacts& facts) {
  auto present = base::Json::parse(facts.config_json, nullptr, false);
  const auto patch = base::Json::parse(change.patch_json, nullptr, false);
  auto patched = present;
  patched.merge_patch(patch);
  if (patched != present) {
    return false;
  }
  return std::all_of(change.connections.begin(), change.connections.end(), [&](const auto& file) {
    const auto found = facts.connections.find(file.first);
    return found != facts.connections.end() &&
           found->second == oci::Digest::of(base::as_bytes(file.second));
  });
}

base::Status plan_parts(const bundle::Manifest& manifest, const DeviceFacts& facts,
                        InstallPlan& plan) {
  if (manifest.os) {
    OU_CHECK(check_os(manifest, facts));
    plan.install_os = needs_os(manifest, facts);
    plan.from_os = facts.os->version;
    plan.to_os = manifest.os->version;
  }
  if (manifest.supervisor) {
    OU_CHECK(check_supervisor(manifest, facts));
    plan.change_settings =
        compare_versions(manifest.supervisor->version, facts.supervisor_version) != 0;
  }
  plan.change_settings = plan.change_settings || !has_config(manifest.config, facts);
  if (plan.change_settings) {
    OU_CHECK(check_settled(facts.os_state));
  }
  plan.switch_release = manifest.has_release() && facts.running_commit != manifest.release.commit;
  plan.up_to_date = !plan.install_os && !plan.change_settings && !plan.switch_release;
  return base::ok();
}

}  // namespace

oci::Digest chain_id(const oci::Digest* parent, const oci::Digest& diff_id) {
  if (parent == nullptr) {
    return diff_id;
  }
  const std::string text = parent->text() + " " + diff_id.text();
  return oci::Digest::of(base::as_bytes(text));
}

base::Result<InstallPlan> make_plan(const bundle::Manifest& manifest, const DeviceFacts& facts) {
  OU_CHECK(check_compatibility(manifest, facts));
  InstallPlan plan;
  plan.from_commit = facts.running_commit;
  plan.to_commit = manifest.has_release() ? manifest.release.commit : facts.running_commit;
  OU_CHECK(plan_parts(manifest, facts, plan));
  std::set<oci::Digest> planned_layers;
  std::uint64_t largest_transfer = 0;
  for (const auto& image : manifest.images) {
    if (manifest.os && image.id == manifest.os->image) {
      continue;  // goes into a slot of its own
    }
    auto planned = plan_image(manifest, image, facts, planned_layers, plan);
    largest_transfer = std::max(largest_transfer, planned.transfer_bytes);
    plan.images.push_back(std::move(planned));
  }
  // Images are pulled one after the other; an engine that spools holds one of them in full.
  plan.needed_bytes += kReserveBytes + (facts.engine_spools_pulls ? largest_transfer : 0);
  plan.needed_inodes += kReserveInodes;
  if (!plan.up_to_date) {
    OU_CHECK(check_room(plan, facts));
  }
  return plan;
}

}  // namespace agent::plan
