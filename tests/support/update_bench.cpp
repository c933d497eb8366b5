#include "support/update_bench.hpp"

#include <set>
#include <stdexcept>

#include "staged_updates.hpp"

namespace support {
namespace {

template <typename T>
T require(base::Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().message());
  }
  return *std::move(result);
}

/// Layers of s0, s1 and more.
std::vector<std::vector<base::Bytes>> layers_for(unsigned more_images) {
  std::vector<std::vector<base::Bytes>> layers{{tar_of("bin/app", random_bytes(200'000, 1))},
                                               {tar_of("bin/app", random_bytes(1000, 2))}};
  for (unsigned i = 0; i < more_images; ++i) {
    layers.push_back({tar_of("usr/bin/more", random_bytes(150'000, 3 + i))});
  }
  return layers;
}

agent::Config config_for(const FakeDevice& device) {
  const auto root = device.scratch.path().string();
  return require(
      agent::load_config(std::nullopt, {{"OFFLINE_UPDATER_HOST_ROOT", root},
                                        {"OFFLINE_UPDATER_STATE_DIR", root},
                                        {"OFFLINE_UPDATER_SUPERVISOR_UNIT", "supervisor.service"},
                                        {"OFFLINE_UPDATER_SUPERVISOR_TIMER", "supervisor.timer"},
                                        {"OFFLINE_UPDATER_WAIT_FOR_LOCKS_SECONDS", "10"},
                                        {"OFFLINE_UPDATER_APPLY_SECONDS", "30"},
                                        {"OFFLINE_UPDATER_REBOOT_SECONDS", "30"}}));
}

}  // namespace

SignedBundle::SignedBundle(std::uint64_t sequence, unsigned more_images)
    : key(require(bundle::SecretKey::generate())),
      built(build_bundle(medium / "a.bundle", layers_for(more_images), sequence)) {
  built.manifest.release.volumes_json = R"({"data":{}})";
  built.manifest.policy.confirm_seconds = 5;
  sign();
}

OsBundle::OsBundle(OsBundleParts parts) : SignedBundle(5, parts.supervisor ? 2 : 1) {
  auto& manifest = built.manifest;
  auto& services = manifest.release.services;  // s2 stands for the OS, s3 for the supervisor
  manifest.os = bundle::HostOs{.image = services.at(2).image,
                               .version = FakeHost::kNewVersion,
                               .meta_version = "6.6.0",
                               .device_type = "generic-amd64",
                               .boot_files = {{"EFI/BOOT/grubenv", 1024}, {"os-release", 300}},
                               .boot_volume_bytes = 4096,
                               .signed_for_secure_boot = false};
  if (parts.supervisor) {
    manifest.supervisor = bundle::SupervisorImage{
        .image = services.at(3).image, .name = kSupervisorName, .version = "18.0.0"};
  }
  if (parts.config) {
    manifest.config.patch_json = R"({"country":"CH","hostname":"site-7"})";
    manifest.config.connections = {{"site.nmconnection", "[connection]\nid=site\n"}};
  }
  services.erase(services.begin() + 2, services.end());
  if (!parts.release) {
    const std::set<oci::Digest> unused{services[0].image, services[1].image};
    std::erase_if(manifest.images, [&](const auto& image) { return unused.contains(image.id); });
    std::set<oci::Digest> used;
    for (const auto& image : manifest.images) {
      used.insert({image.id, image.manifest});
      for (const auto& layer : image.layers) {
        used.insert(layer.blob);
      }
    }
    for (auto it = manifest.blobs.begin(); it != manifest.blobs.end();) {
      if (used.contains(it->first)) {
        ++it;
        continue;
      }
      std::filesystem::remove(built.directory / "blobs/sha256" / it->first.hex());
      it = manifest.blobs.erase(it);
    }
    manifest.release = {};
  }
  sign();
}

base::UntrustedDirectory SignedBundle::open() const {
  return require(base::UntrustedDirectory::open(medium.path()));
}

UpdateBench::UpdateBench(const SignedBundle& bundle)
    : medium(&bundle), config(config_for(device)), journal(device.scratch.path()) {
  (void)device.scratch.write(
      "mnt/boot/config.json",
      R"({"uuid":"dddddddddddddddddddddddddddddddd","deviceType":"generic-amd64",)"
      R"("applicationId":7,"apiEndpoint":"https://api.invalid","deviceApiKey":"secret"})");
}

agent::record::Ledger UpdateBench::ledger() const {
  return require(agent::record::Ledger::open(config.state_dir));
}

std::optional<agent::record::JournalEntry> UpdateBench::journal_entry() const {
  return require(journal.load());
}

std::optional<agent::record::RunOutcome> UpdateBench::start(std::stop_token stop) {
  auto entry = journal_entry();
  if (!entry) {
    return std::nullopt;
  }
  return with_device([&](agent::Device& world) -> std::optional<agent::record::RunOutcome> {
    if (agent::needs_medium(world, *entry)) {
      return std::nullopt;
    }
    return agent::finish_update(world, *std::move(entry), std::move(stop));
  });
}

std::optional<agent::record::RunOutcome> UpdateBench::look_at_medium(std::stop_token stop) {
  return with_device([&](agent::Device& world) {
    agent::MediumContent content;
    agent::open_bundles(medium->open(), medium->trust(), content);
    return agent::update_from(
        world, std::move(content), {.obey_window = true}, [](const auto&, auto) {},
        std::move(stop));
  });
}

agent::record::RunOutcome UpdateBench::take_medium(std::stop_token stop) {
  auto outcome = look_at_medium(std::move(stop));
  if (!outcome) {
    throw std::runtime_error("there is no bundle on the medium, or it is not yet time");
  }
  return *std::move(outcome);
}

std::optional<agent::record::RunOutcome> UpdateBench::take_copy(std::stop_token stop) {
  return with_device([&](agent::Device& world) -> std::optional<agent::record::RunOutcome> {
    if (agent::copy_due(world, journal_entry()) != std::chrono::seconds(0)) {
      return std::nullopt;
    }
    return agent::install_copy(world, medium->trust(), {.obey_window = true}, std::move(stop));
  });
}

std::optional<agent::record::RunOutcome> UpdateBench::give_up_waiting() {
  const auto entry = journal_entry();
  if (!entry || !agent::waits_for_medium(entry->phase)) {
    return std::nullopt;
  }
  return with_device([&](agent::Device& world) {
    return agent::abandon_update(
        world, *entry, base::Error(base::ErrorCode::kMediumTimeout, "it did not come back"));
  });
}

}  // namespace support
