// A device in memory with the agent's own memory on a real file system, and a bundle for it.
#pragma once

#include <optional>
#include <string>

#include "support/bundle_builder.hpp"
#include "support/fake_device.hpp"
#include "update_run.hpp"
#include "update_session.hpp"

namespace support {

/// A signed bundle with services s0 and s1, an image of one layer each, and volume "data".
struct SignedBundle {
  explicit SignedBundle(std::uint64_t sequence = 5) : SignedBundle(sequence, 0) {}
  /// Writes the manifest again, after a change.
  void sign() const { write_manifest(built, {&key}); }
  [[nodiscard]] bundle::Trust trust() const { return trust_in({&key}); }
  [[nodiscard]] const oci::Digest& image(std::size_t service) const {
    return built.manifest.release.services.at(service).image;
  }
  /// As a medium holds it.
  [[nodiscard]] base::UntrustedDirectory open() const;

  Scratch medium;
  bundle::SecretKey key;
  BuiltBundle built;

 protected:
  /// With so many images more, each of a service of its own.
  SignedBundle(std::uint64_t sequence, unsigned more_images);
};

/// What a bundle with a host OS has beside it.
struct OsBundleParts {
  bool release = true;
  bool supervisor = true;
  bool config = true;
};
/// A signed bundle with the OS FakeHost::kNewVersion; supervisor 18.0.0; a patch of config.json
/// that sets "country" (quiet) and "hostname" (restarts the engine), and a connection
/// "site.nmconnection".
struct OsBundle : SignedBundle {
  explicit OsBundle(OsBundleParts parts = {});
  static constexpr const char* kSupervisorName = "registry.invalid/v2/newsupervisor";
};

struct UpdateBench {
  explicit UpdateBench(const SignedBundle& bundle);

  /// What the daemon does when it starts: goes on with what the journal names.
  /// \return nothing when there is nothing to go on with
  std::optional<agent::record::RunOutcome> start(std::stop_token stop = {});
  /// What it does with the medium.
  agent::record::RunOutcome take_medium(std::stop_token stop = {});
  /// \return nothing when the medium has to wait for the window
  std::optional<agent::record::RunOutcome> look_at_medium(std::stop_token stop = {});
  /// Installs the copy on the device as soon as the daemon would.
  /// \return nothing when there is none or it is not yet time
  std::optional<agent::record::RunOutcome> take_copy(std::stop_token stop = {});
  /// The medium does not come back.
  std::optional<agent::record::RunOutcome> give_up_waiting();
  [[nodiscard]] std::optional<agent::record::JournalEntry> journal_entry() const;
  [[nodiscard]] agent::record::Ledger ledger() const;

  const SignedBundle* medium;  // what is in the port
  FakeDevice device;
  agent::Config config;
  agent::record::Journal journal;
  std::uint64_t clock = 0;  // the device's, for windows

  /// Calls `work` with the device as a newly started agent sees it.
  template <typename Work>
  auto with_device(Work work) {
    auto memory = ledger();
    agent::Device world{config,
                        device.engine,
                        device.supervisor.database,
                        device.supervisor,
                        device.supervisor,
                        journal,
                        memory,
                        device.progress,
                        device.waiter,
                        [this] { return clock; }};
    return work(world);
  }
};

}  // namespace support
