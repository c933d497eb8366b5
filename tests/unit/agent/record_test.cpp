// What the device remembers: journal, ledger and outcomes.
#include <catch2/catch.hpp>

#include "base/files.hpp"
#include "base/json.hpp"
#include "record/journal.hpp"
#include "record/ledger.hpp"
#include "record/outcome.hpp"
#include "support/scratch.hpp"

namespace {

using namespace agent::record;
using base::ErrorCode;

oci::Digest digest(const std::string& text) {
  return oci::Digest::of(base::as_bytes(text));
}

std::string file_text(const std::filesystem::path& path) {
  const auto bytes = base::read_file(path, 1'000'000);
  REQUIRE(bytes);
  return std::string(base::as_text(*bytes));
}

}  // namespace

TEST_CASE("journal: what is written is read again, and nothing after clear") {
  const support::Scratch scratch;
  const Journal journal(scratch.path());
  REQUIRE(journal.load());
  CHECK_FALSE(journal.load()->has_value());

  JournalEntry entry{.phase = Phase::kReverting, .bundle = digest("b")};
  entry.bundle_name = "spring release";
  entry.sequence = 7;
  entry.registry_port = 40123;
  entry.registry_token = "abc";
  entry.release_switch_json = R"({"old":1})";
  entry.failure = base::Error(ErrorCode::kReleaseUnhealthy, "service main exits with 3");
  REQUIRE(journal.write(entry));
  const auto loaded = journal.load();
  REQUIRE(loaded);
  REQUIRE(loaded->has_value());
  CHECK((*loaded)->phase == Phase::kReverting);
  CHECK((*loaded)->bundle == entry.bundle);
  CHECK((*loaded)->registry_port == 40123);
  CHECK((*loaded)->release_switch_json == entry.release_switch_json);
  REQUIRE((*loaded)->failure);
  CHECK((*loaded)->failure->code() == ErrorCode::kReleaseUnhealthy);
  REQUIRE(journal.clear());
  CHECK_FALSE(journal.load()->has_value());
  CHECK(journal.clear());
}

TEST_CASE("journal: a file that is cut short is an error, not an idle device") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("journal.json", R"({"version":1,"phase":"pull)"));
  const auto loaded = Journal(scratch.path()).load();
  REQUIRE_FALSE(loaded);
  CHECK(loaded.error().code() == ErrorCode::kJournal);
}

TEST_CASE("ledger: remembers bundles and the highest sequence over a restart") {
  const support::Scratch scratch;
  {
    auto ledger = Ledger::open(scratch.path());
    REQUIRE(ledger);
    CHECK(ledger->highest_sequence("fleet") == 0);
    REQUIRE(ledger->installed(digest("1"), "fleet", 9, 100));
    REQUIRE(ledger->installed(digest("2"), "fleet", 8, 101));
    REQUIRE(ledger->failed(digest("3"), 10, 102, base::Error(ErrorCode::kEngine, "no")));
  }
  auto ledger = Ledger::open(scratch.path());
  REQUIRE(ledger);
  CHECK(ledger->highest_sequence("fleet") == 9);
  CHECK(ledger->highest_sequence("other") == 0);
  REQUIRE(ledger->find(digest("3")));
  CHECK_FALSE(ledger->find(digest("3"))->installed);
  CHECK(ledger->find(digest("3"))->why == "no");
  REQUIRE(ledger->forget(digest("3")));
  CHECK_FALSE(Ledger::open(scratch.path())->find(digest("3")));
}

TEST_CASE("ledger: forgets the oldest bundles but never the highest sequence") {
  const support::Scratch scratch;
  auto ledger = Ledger::open(scratch.path());
  REQUIRE(ledger);
  for (std::uint64_t i = 1; i <= Ledger::kMaxRemembered + 5; ++i) {
    REQUIRE(ledger->installed(digest(std::to_string(i)), "fleet", i, i));
  }
  CHECK_FALSE(ledger->find(digest("5")));
  CHECK(ledger->find(digest("6")));
  CHECK(ledger->highest_sequence("fleet") == Ledger::kMaxRemembered + 5);
}

TEST_CASE("ledger: a damaged file is an error, so that no old bundle gets in") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("ledger.json", "{}"));
  const auto ledger = Ledger::open(scratch.path());
  REQUIRE_FALSE(ledger);
  CHECK(ledger.error().code() == ErrorCode::kJournal);
}

TEST_CASE("outcome: kept on the device, the last hundred of them") {
  const support::Scratch scratch;
  const OutcomeStore store(scratch.path());
  CHECK_FALSE(store.last()->has_value());
  for (int i = 0; i < 103; ++i) {
    REQUIRE(store.save({.result = RunResult::kUpToDate, .sequence = 5}));
  }
  REQUIRE(store.save({.result = RunResult::kUpdated, .sequence = 6}));
  const auto last = store.last();
  REQUIRE(last);
  REQUIRE(last->has_value());
  CHECK(base::Json::parse(**last)["result"] == "updated");
  std::size_t kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scratch / "outcomes")) {
    kept += entry.is_regular_file() ? 1U : 0U;
  }
  CHECK(kept == OutcomeStore::kKept);
}

TEST_CASE("outcome: written to a medium under a name of its own each time") {
  const support::Scratch scratch;
  RunOutcome outcome{.result = RunResult::kReverted, .device_uuid = std::string(32, 'd')};
  outcome.error = base::Error(ErrorCode::kReleaseUnhealthy, "service main exits with 3");
  outcome.finished_at = 1'700'000'000;
  REQUIRE(write_to_medium(scratch.path(), outcome));
  REQUIRE(write_to_medium(scratch.path(), outcome));
  const auto name = "offline-updater-results/dddddddddddd-20231114T221320Z-reverted";
  CHECK(base::Json::parse(file_text(scratch / (std::string(name) + ".json")))["error"]["code"] ==
        501);
  const auto text = file_text(scratch / (std::string(name) + "-1.txt"));
  CHECK(text.find("WENT BACK") == 0);
  CHECK(text.find("service main exits with 3") != std::string::npos);
}

TEST_CASE("outcome: an update that is not finished is said once on a medium, and what to do") {
  const support::Scratch scratch;
  RunOutcome outcome{.result = RunResult::kInterrupted, .device_uuid = std::string(32, 'd')};
  outcome.bundle_digest = "sha256:" + std::string(64, 'a');
  outcome.error = base::Error(ErrorCode::kUpdateLocked, "main holds its lock");
  CHECK_FALSE(is_on_medium(scratch.path(), outcome));
  for (const auto at : {1'700'000'000U, 1'700'000'060U}) {
    outcome.finished_at = at;
    REQUIRE(write_to_medium(scratch.path(), outcome));
    CHECK(is_on_medium(scratch.path(), outcome));
  }
  const auto results = scratch / "offline-updater-results";
  CHECK(std::distance(std::filesystem::directory_iterator(results), {}) == 2);  // .json and .txt
  const auto text = file_text(results / "dddddddddddd-aaaaaaaaaaaa-interrupted.txt");
  CHECK(text.find("NOT FINISHED YET") == 0);
  CHECK(text.find("Leave the medium in, or come back") != std::string::npos);
  CHECK(text.find("main holds its lock") != std::string::npos);
  outcome.bundle_digest = "sha256:" + std::string(64, 'b');
  CHECK_FALSE(is_on_medium(scratch.path(), outcome));
}

TEST_CASE("outcome: a device that has not come back is not said to run") {
  RunOutcome outcome{.result = RunResult::kReverted};
  outcome.error = base::Error(ErrorCode::kRollbackFailed, "service main is not running");
  const auto text = agent::record::to_text(outcome);
  CHECK(text.find("WENT BACK, BUT NOT ALL RUNS YET") == 0);
  CHECK(text.find("Restart the device") != std::string::npos);
  CHECK(text.find("runs again") == std::string::npos);
}

TEST_CASE("outcome: a link on the medium in place of the results is not followed") {
  const support::Scratch scratch;
  const support::Scratch elsewhere;
  std::filesystem::create_symlink(elsewhere.path(), scratch / "offline-updater-results");
  const auto status = write_to_medium(scratch.path(), {});
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::kOutcome);
  CHECK(std::filesystem::is_empty(elsewhere.path()));
}
