// What installing needs of the device's supervisor: its database, its API and its units.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "install/service_manager.hpp"

namespace agent::install {

/// A row of the table `app`. JSON columns are texts as stored.
/// \source engine-and-supervisor.md section 4
struct AppRow {
  std::uint64_t app_id = 0;
  std::string uuid;
  std::string name;
  std::uint64_t release_id = 0;
  std::string commit;
  std::string source;         // API endpoint that the target came from
  std::string services_json;  // array
  std::string volumes_json;   // object
  std::string networks_json;  // object
};

/// The supervisor's SQLite file. Opened anew for each call, which takes milliseconds.
/// \error of every call: ErrorCode::kSupervisorDatabase; kSupervisorSchema when the tables are not
///   those that the reference describes
class SupervisorDatabase {
 public:
  SupervisorDatabase() = default;
  SupervisorDatabase(const SupervisorDatabase&) = delete;
  SupervisorDatabase& operator=(const SupervisorDatabase&) = delete;
  virtual ~SupervisorDatabase() = default;

  virtual base::Status check_schema() = 0;
  /// All rows of `app`, in order of their ids.
  virtual base::Result<std::vector<AppRow>> apps() = 0;
  /// Value of the key in the table `config`: "pinDevice", "targetStateSet".
  virtual base::Result<std::optional<std::string>> config_value(const std::string& key) = 0;
  /// The global API key; nothing when there is none.
  virtual base::Result<std::optional<std::string>> api_key() = 0;
  /// Copies the database file to `path`, durably. \pre the supervisor is stopped
  virtual base::Status back_up(const std::filesystem::path& path) = 0;
  /// Puts such a copy back in the place of the file, durably. \pre the supervisor is stopped
  virtual base::Status restore(const std::filesystem::path& path) = 0;
  /// In one transaction: releaseId, commit, services, volumes, networks (and rejected=0 where that
  /// column exists) of the row with row.uuid; and the pinDevice value, which is removed when empty.
  /// Exactly one row has to change. \pre the supervisor is stopped
  virtual base::Status write_target(const AppRow& row, const std::optional<std::string>& pin) = 0;
};

struct SupervisorStatus {
  std::string app_state;  // "applied" or "applying"
  std::string release;    // commit that it says it runs; empty if none
};

/// The supervisor's HTTP API. After a start it refuses connections and may answer 401 for a while:
/// callers ask again. \error ErrorCode::kSupervisorApi
class SupervisorApi {
 public:
  SupervisorApi() = default;
  SupervisorApi(const SupervisorApi&) = delete;
  SupervisorApi& operator=(const SupervisorApi&) = delete;
  virtual ~SupervisorApi() = default;
  virtual base::Result<SupervisorStatus> status() = 0;
  virtual base::Result<std::string> version() = 0;
};

}  // namespace agent::install
