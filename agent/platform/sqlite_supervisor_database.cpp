#include "platform/sqlite_supervisor_database.hpp"

#include <fcntl.h>
#include <sqlite3.h>

#include <cerrno>
#include <set>

#include "base/files.hpp"
#include "base/handle.hpp"

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;
using install::AppRow;
using Database = base::Handle<sqlite3, sqlite3_close_v2>;

constexpr int kBusyMilliseconds = 5000;
constexpr std::size_t kMaxDatabaseBytes = std::size_t{256} * 1024 * 1024;

Error failed(sqlite3* database, const std::string& doing) {
  return Error(ErrorCode::kSupervisorDatabase, doing + ": " + sqlite3_errmsg(database));
}

/// SQLite's own file access, but for one thing: it takes a path as it is. The default resolves
/// symbolic links by name, and /proc/1/root reads as "/": from within a container it would look for
/// the host's file in the container. \source sqlite3_vfs, xFullPathname
const char* literal_paths() {
  static const char* const name = []() -> const char* {
    const auto* usual = sqlite3_vfs_find(nullptr);
    if (usual == nullptr) {
      return nullptr;
    }
    static sqlite3_vfs vfs = *usual;
    vfs.zName = "offline-updater";
    vfs.xFullPathname = [](sqlite3_vfs*, const char* path, int size, char* out) {
      const std::string_view text(path);
      if (text.size() >= static_cast<std::size_t>(size)) {
        return SQLITE_CANTOPEN;
      }
      *std::copy(text.begin(), text.end(), out) = '\0';
      return SQLITE_OK;
    };
    return sqlite3_vfs_register(&vfs, /*makeDflt=*/0) == SQLITE_OK ? vfs.zName : nullptr;
  }();
  return name;
}

base::Result<Database> open(const std::filesystem::path& file, int flags) {
  sqlite3* raw = nullptr;
  const int result = sqlite3_open_v2(std::filesystem::absolute(file).c_str(), &raw,
                                     flags | SQLITE_OPEN_NOFOLLOW, literal_paths());
  Database database(raw);
  if (result != SQLITE_OK) {
    return Error(ErrorCode::kSupervisorDatabase,
                 "open " + file.string() + ": " + sqlite3_errstr(result));
  }
  sqlite3_busy_timeout(database.get(), kBusyMilliseconds);
  return database;
}

/// To be read. A supervisor that lost its power in the middle of a change has left a journal with
/// what was before: whoever opens the file next has to take the change back, for which reading is
/// not enough. \source sqlite.org/lockingv3.html, "hot journal"
base::Result<Database> open_to_read(const std::filesystem::path& file) {
  constexpr const char* kLook = "PRAGMA schema_version";
  OU_TRY(auto database, open(file, SQLITE_OPEN_READONLY));
  const int result = sqlite3_exec(database.get(), kLook, nullptr, nullptr, nullptr);
  if (result == SQLITE_READONLY &&
      sqlite3_extended_errcode(database.get()) == SQLITE_READONLY_ROLLBACK) {
    OU_TRY(database, open(file, SQLITE_OPEN_READWRITE));
    if (sqlite3_exec(database.get(), kLook, nullptr, nullptr, nullptr) != SQLITE_OK) {
      return failed(database.get(), "take back a change that was broken off");
    }
  }
  return database;
}

/// One prepared statement with its parameters bound by position.
class Statement {
 public:
  static base::Result<Statement> prepare(sqlite3* database, const std::string& sql) {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(database, sql.c_str(), -1, &raw, nullptr) != SQLITE_OK) {
      return failed(database, "prepare \"" + sql + "\"");
    }
    return Statement(database, raw);
  }
  Statement& bind(const std::string& text) {
    sqlite3_bind_text(statement_.get(), ++bound_, text.c_str(), -1, SQLITE_TRANSIENT);
    return *this;
  }
  Statement& bind(std::uint64_t number) {
    sqlite3_bind_int64(statement_.get(), ++bound_, static_cast<sqlite3_int64>(number));
    return *this;
  }
  /// \return whether there is a row
  base::Result<bool> step() {
    const int result = sqlite3_step(statement_.get());
    if (result == SQLITE_ROW || result == SQLITE_DONE) {
      return result == SQLITE_ROW;
    }
    return failed(database_, "query");
  }
  [[nodiscard]] std::string text(int column) const {
    const auto* value = sqlite3_column_text(statement_.get(), column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
    return value == nullptr ? "" : std::string(reinterpret_cast<const char*>(value), size);
  }
  [[nodiscard]] std::uint64_t number(int column) const {
    return static_cast<std::uint64_t>(sqlite3_column_int64(statement_.get(), column));
  }
  [[nodiscard]] bool is_null(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
  }

 private:
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  sqlite3* database_;
  base::Handle<sqlite3_stmt, sqlite3_finalize> statement_;
  int bound_ = 0;
};

base::Status execute(sqlite3* database, const char* sql) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return failed(database, sql);
  }
  return base::ok();
}

base::Result<std::set<std::string>> columns(sqlite3* database, const std::string& table) {
  OU_TRY(auto query, Statement::prepare(database, "SELECT name FROM pragma_table_info(?)"));
  query.bind(table);
  std::set<std::string> names;
  for (;;) {
    OU_TRY(const bool more, query.step());
    if (!more) {
      return names;
    }
    names.insert(query.text(0));
  }
}

base::Result<std::optional<std::string>> one_text(const std::filesystem::path& file,
                                                  const std::string& sql,
                                                  const std::string& parameter) {
  OU_TRY(const auto database, open_to_read(file));
  OU_TRY(auto query, Statement::prepare(database.get(), sql));
  query.bind(parameter);
  OU_TRY(const bool found, query.step());
  return found && !query.is_null(0) ? std::optional(query.text(0)) : std::nullopt;
}

base::Status update_app(sqlite3* database, const AppRow& row, bool has_rejected) {
  OU_TRY(auto update,
         Statement::prepare(database,
                            std::string("UPDATE app SET releaseId = ?, \"commit\" = ?, services = "
                                        "?, volumes = ?, networks = ?") +
                                (has_rejected ? ", rejected = 0" : "") + " WHERE uuid = ?"));
  update.bind(row.release_id)
      .bind(row.commit)
      .bind(row.services_json)
      .bind(row.volumes_json)
      .bind(row.networks_json)
      .bind(row.uuid);
  OU_CHECK(update.step().map([](bool) {}));
  if (sqlite3_changes(database) != 1) {
    return Error(ErrorCode::kSupervisorDatabase,
                 "the table app has " + std::to_string(sqlite3_changes(database)) +
                     " rows for fleet " + row.uuid + " instead of one");
  }
  return base::ok();
}

base::Status set_pin(sqlite3* database, const std::optional<std::string>& pin) {
  OU_TRY(auto change,
         Statement::prepare(database, pin ? "INSERT OR REPLACE INTO config (key, value) VALUES "
                                            "('pinDevice', ?)"
                                          : "DELETE FROM config WHERE key = 'pinDevice'"));
  if (pin) {
    change.bind(*pin);
  }
  OU_CHECK(change.step().map([](bool) {}));
  return base::ok();
}

}  // namespace

base::Status SqliteSupervisorDatabase::check_schema() {
  OU_TRY(const auto database, open_to_read(file_));
  const std::map<std::string, std::set<std::string>> needed{
      {"app",
       {"appId", "uuid", "name", "releaseId", "commit", "source", "services", "volumes",
        "networks"}},
      {"config", {"key", "value"}},
      {"apiSecret", {"appId", "key"}}};
  for (const auto& [table, names] : needed) {
    OU_TRY(const auto present, columns(database.get(), table));
    for (const auto& name : names) {
      if (!present.contains(name)) {
        return Error(ErrorCode::kSupervisorSchema,
                     "table " + table + " of the supervisor's database has no column " + name +
                         ": this supervisor is older or newer than the agent knows");
      }
    }
  }
  return base::ok();
}

base::Result<std::vector<AppRow>> SqliteSupervisorDatabase::apps() {
  OU_TRY(const auto database, open_to_read(file_));
  OU_TRY(auto query,
         Statement::prepare(database.get(),
                            "SELECT appId, uuid, name, releaseId, \"commit\", source, services, "
                            "volumes, networks FROM app ORDER BY appId"));
  std::vector<AppRow> rows;
  for (;;) {
    OU_TRY(const bool more, query.step());
    if (!more) {
      return rows;
    }
    rows.push_back({.app_id = query.number(0),
                    .uuid = query.text(1),
                    .name = query.text(2),
                    .release_id = query.number(3),
                    .commit = query.text(4),
                    .source = query.text(5),
                    .services_json = query.text(6),
                    .volumes_json = query.text(7),
                    .networks_json = query.text(8)});
  }
}

base::Result<std::optional<std::string>> SqliteSupervisorDatabase::config_value(
    const std::string& key) {
  return one_text(file_, "SELECT value FROM config WHERE key = ?", key);
}

base::Result<std::optional<std::string>> SqliteSupervisorDatabase::api_key() {
  return one_text(file_, "SELECT key FROM apiSecret WHERE appId = ?", "0");
}

base::Status SqliteSupervisorDatabase::back_up(const std::filesystem::path& path) {
  OU_CHECK(open_to_read(file_).map([](const Database&) {}));  // so that the file is all there is
  auto bytes = base::read_file(file_, kMaxDatabaseBytes);
  if (!bytes) {
    return std::move(bytes).error().as(ErrorCode::kSupervisorDatabase);
  }
  return base::write_file_durably(path, *bytes);
}

base::Status SqliteSupervisorDatabase::restore(const std::filesystem::path& path) {
  auto bytes = base::read_file(path, kMaxDatabaseBytes);
  if (!bytes) {
    return std::move(bytes).error().as(ErrorCode::kSupervisorDatabase);
  }
  // Journals of the other file would be applied to this one.
  for (const auto* suffix : {"-journal", "-wal", "-shm"}) {
    OU_CHECK(base::remove_file_durably(file_.string() + suffix));
  }
  return base::write_file_durably(file_, *bytes, 0644);
}

base::Status SqliteSupervisorDatabase::write_target(const AppRow& row,
                                                    const std::optional<std::string>& pin) {
  OU_TRY(const auto database, open(file_, SQLITE_OPEN_READWRITE));
  OU_TRY(const auto names, columns(database.get(), "app"));
  OU_CHECK(execute(database.get(), "BEGIN IMMEDIATE"));
  auto done = update_app(database.get(), row, names.contains("rejected"));
  if (done) {
    done = set_pin(database.get(), pin);
  }
  if (done) {
    done = execute(database.get(), "COMMIT");
  }
  if (!done) {
    static_cast<void>(execute(database.get(), "ROLLBACK"));  // closing would do it too
  }
  return done;
}

}  // namespace agent::platform
