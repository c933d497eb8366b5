// The supervisor's database as a power cut leaves it: with a journal that SQLite has to roll back
// first.
#include <sqlite3.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "base/handle.hpp"
#include "platform/sqlite_supervisor_database.hpp"
#include "support/scratch.hpp"

namespace {

using agent::platform::SqliteSupervisorDatabase;
using Database = base::Handle<sqlite3, sqlite3_close_v2>;
namespace fs = std::filesystem;

void execute(const Database& database, const std::string& sql) {
  INFO(sql);
  REQUIRE(sqlite3_exec(database.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
}

Database make_database(const fs::path& path) {
  sqlite3* raw = nullptr;
  REQUIRE(sqlite3_open(path.c_str(), &raw) == SQLITE_OK);
  Database database(raw);
  std::ostringstream schema;
  schema << std::ifstream(SUPERVISOR_SCHEMA).rdbuf();
  execute(database, schema.str());
  execute(database,
          "INSERT INTO app (name, releaseId, \"commit\", appId, services, networks, volumes, "
          "source, uuid) VALUES ('fleet', 1, 'before', 7, '[]', '{}', '{}', 'api', 'uuid')");
  return database;
}

/// The files as a power cut in the middle of a change leaves them.
fs::path cut_in_a_change(const support::Scratch& scratch) {
  const auto path = scratch / "database.sqlite";
  const Database database = make_database(path);
  execute(database, "PRAGMA cache_size = 1");  // so that pages are written before the end
  execute(database, "BEGIN");
  execute(database, "UPDATE app SET \"commit\" = 'after'");
  for (int i = 0; i < 100; ++i) {
    execute(database, "INSERT INTO image (name) VALUES (hex(zeroblob(4000)))");
  }
  const auto cut = scratch / "cut.sqlite";
  fs::copy_file(path, cut);
  fs::copy_file(path.string() + "-journal", cut.string() + "-journal");
  return cut;
}

}  // namespace

TEST_CASE("supervisor database: what a power cut left half done is taken back, then read") {
  const support::Scratch scratch;
  const auto path = cut_in_a_change(scratch);
  REQUIRE(fs::file_size(path.string() + "-journal") > 0);
  SqliteSupervisorDatabase database(path);
  SECTION("by whoever reads first") {
    REQUIRE(database.check_schema());
    const auto rows = database.apps();
    REQUIRE(rows);
    REQUIRE(rows->size() == 1);
    CHECK(rows->front().commit == "before");
  }
  SECTION("and before a copy is made") {
    const auto copy = scratch / "copy.sqlite";
    REQUIRE(database.back_up(copy));
    const auto rows = SqliteSupervisorDatabase(copy).apps();
    REQUIRE(rows);
    CHECK(rows->front().commit == "before");
  }
}

TEST_CASE("supervisor database: reading changes no file") {
  const support::Scratch scratch;
  const auto path = scratch / "database.sqlite";
  make_database(path);
  const auto before = fs::last_write_time(path);
  SqliteSupervisorDatabase database(path);
  REQUIRE(database.apps());
  CHECK(fs::last_write_time(path) == before);
}
