// How an update with a host OS is brought to its end on a device in memory, and what holds then.
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "base/json.hpp"
#include "install/pull_step.hpp"
#include "support/update_bench.hpp"

namespace support {

inline constexpr int kMaxStarts = 12;

/// Takes the medium as often as it takes until there is an end, restarting the device whenever it
/// goes down. \param with_medium whether the stick stays in
inline agent::record::RunOutcome run_to_the_end(UpdateBench& bench, bool with_medium = true) {
  for (int start = 0; start < kMaxStarts; ++start) {
    try {
      auto outcome = bench.start();
      if (!outcome && with_medium) {
        outcome = bench.take_medium();
      }
      if (!outcome) {
        outcome = bench.give_up_waiting();
      }
      if (outcome && outcome->result != agent::record::RunResult::kInterrupted) {
        return *outcome;
      }
      if (!outcome) {
        return {.result = agent::record::RunResult::kFailed, .error = {}};
      }
    } catch (const PowerCut&) {
      bench.device.reboot();
    }
  }
  FAIL("the update came to no end in " << kMaxStarts << " starts");
  return {};
}

inline base::Json config_of(const UpdateBench& bench) {
  return base::Json::parse(bench.device.host.read("mnt/boot/config.json"));
}

inline bool runs_new_release(const UpdateBench& bench) {
  return bench.device.supervisor.database.rows.front().commit == std::string(32, '2');
}

/// What holds at the end of everything, however it went.
inline void check_in_order(const UpdateBench& bench) {
  const auto& device = bench.device;
  CHECK(device.host.is_settled());
  CHECK(device.host.read("mnt/boot/EFI/BOOT/grub_extraenv") == "extra_os_cmdline=user");
  CHECK(device.supervisor.runs);
  CHECK(device.supervisor.timer_runs);
  CHECK(device.supervisor.database.misuse.empty());
  CHECK(device.supervisor.applied == device.supervisor.database.rows.front().commit);
  CHECK(device.supervisor.volumes.at("data") == "what users made");
  const auto config = config_of(bench);
  CHECK(config["uuid"] == std::string(32, 'd'));
  CHECK(config["deviceApiKey"] == "secret");
  CHECK(config["applicationId"] == 7);
  CHECK_FALSE(bench.journal_entry());
  for (const auto& name : device.engine.names()) {
    CHECK_FALSE(agent::install::is_keep_tag(name));
  }
  // The release is only ever switched on the new OS, and a supervisor that runs is never older.
  if (runs_new_release(bench)) {
    CHECK(device.host.running_version() == FakeHost::kNewVersion);
  }
}

inline void check_all_new(const UpdateBench& bench) {
  CHECK(bench.device.host.running_version() == FakeHost::kNewVersion);
  CHECK(runs_new_release(bench));
  CHECK(bench.device.host.read(FakeHost::kSupervisorConf) ==
        std::string("LED_FILE=x\nSUPERVISOR_IMAGE=") + OsBundle::kSupervisorName +
            "\nSUPERVISOR_VERSION=v18.0.0\n");
  CHECK(config_of(bench)["country"] == "CH");
  CHECK(config_of(bench)["hostname"] == "site-7");
  CHECK(bench.device.host.read("mnt/boot/system-connections/site.nmconnection") ==
        "[connection]\nid=site\n");
  CHECK(bench.ledger().highest_sequence(std::string(32, 'f')) == 5);
}

inline void check_all_old(const UpdateBench& bench) {
  CHECK(bench.device.host.running_version() == FakeHost::kOldVersion);
  CHECK_FALSE(runs_new_release(bench));
  CHECK_FALSE(config_of(bench).contains("country"));
  CHECK(bench.device.host.read(FakeHost::kSupervisorConf).find("17.6.23") != std::string::npos);
  CHECK(bench.ledger().highest_sequence(std::string(32, 'f')) == 0);
}

inline void check_goes_back(UpdateBench& bench, base::ErrorCode code) {
  const auto outcome = run_to_the_end(bench);
  CHECK(outcome.result == agent::record::RunResult::kReverted);
  REQUIRE(outcome.error);
  CHECK(outcome.error->code() == code);
  check_in_order(bench);
  check_all_old(bench);
}

/// Also with the stick still in: no loop.
inline void check_refused_from_now_on(UpdateBench& bench) {
  const auto again = bench.take_medium();
  REQUIRE(again.error);
  CHECK(again.error->code() == base::ErrorCode::kBundleFailedBefore);
}

}  // namespace support
