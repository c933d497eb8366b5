#include "support/update_bench.hpp"

#include <stdexcept>

namespace support {
namespace {

template <typename T>
T require(base::Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().message());
  }
  return *std::move(result);
}

agent::Config config_for(const FakeDevice& device) {
  const auto root = device.scratch.path().string();
  return require(
      agent::load_config(std::nullopt, {{"OFFLINE_UPDATER_HOST_ROOT", root},
                                        {"OFFLINE_UPDATER_STATE_DIR", root},
                                        {"OFFLINE_UPDATER_SUPERVISOR_UNIT", "supervisor.service"},
                                        {"OFFLINE_UPDATER_SUPERVISOR_TIMER", "supervisor.timer"},
                                        {"OFFLINE_UPDATER_WAIT_FOR_LOCKS_SECONDS", "10"},
                                        {"OFFLINE_UPDATER_APPLY_SECONDS", "30"}}));
}

}  // namespace

SignedBundle::SignedBundle(std::uint64_t sequence)
    : key(require(bundle::SecretKey::generate())),
      built(build_bundle(medium / "a.bundle",
                         {{tar_of("bin/app", random_bytes(200'000, 1))},
                          {tar_of("bin/app", random_bytes(1000, 2))}},
                         sequence)) {
  built.manifest.release.volumes_json = R"({"data":{}})";
  built.manifest.policy.confirm_seconds = 5;
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
      R"("applicationId":7,"apiEndpoint":"https://api.invalid"})");
  (void)device.scratch.write("etc/os-release", "META_BALENA_VERSION=\"6.5.3\"\n");
}

agent::record::Ledger UpdateBench::ledger() const {
  return require(agent::record::Ledger::open(config.state_dir));
}

std::optional<agent::record::JournalEntry> UpdateBench::journal_entry() const {
  return require(journal.load());
}

/// Each start of the agent reads its memory anew.
template <typename Work>
auto UpdateBench::with_device(Work work) {
  auto memory = ledger();
  agent::Device world{config,
                      device.engine,
                      device.supervisor.database,
                      device.supervisor,
                      device.supervisor,
                      journal,
                      memory,
                      device.progress,
                      device.waiter};
  return work(world);
}

std::optional<agent::record::RunOutcome> UpdateBench::start(std::stop_token stop) {
  auto entry = journal_entry();
  if (!entry || entry->phase == agent::record::Phase::kPulling) {
    return std::nullopt;
  }
  return with_device([&](agent::Device& world) {
    return agent::finish_update(world, *std::move(entry), std::move(stop));
  });
}

agent::record::RunOutcome UpdateBench::take_medium(std::stop_token stop) {
  return with_device([&](agent::Device& world) {
    agent::MediumContent content;
    agent::open_bundles(medium->open(), medium->trust(), content);
    auto outcome = agent::update_from(
        world, std::move(content), [](const auto&, auto) {}, std::move(stop));
    if (!outcome) {
      throw std::runtime_error("there is no bundle on the medium");
    }
    return *std::move(outcome);
  });
}

std::optional<agent::record::RunOutcome> UpdateBench::give_up_waiting() {
  const auto entry = journal_entry();
  if (!entry || entry->phase != agent::record::Phase::kPulling) {
    return std::nullopt;
  }
  return with_device([&](agent::Device& world) {
    return agent::abandon_update(
        world, *entry, base::Error(base::ErrorCode::kMediumTimeout, "it did not come back"));
  });
}

}  // namespace support
