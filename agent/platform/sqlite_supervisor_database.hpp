// The supervisor's database, as a SQLite file on the host's data partition.
#pragma once

#include <filesystem>

#include "install/supervisor.hpp"

namespace agent::platform {

/// Opens the file for each call and never keeps a transaction longer than that takes: the
/// supervisor gives up when it finds the file locked for a second (engine-and-supervisor.md section
/// 4).
class SqliteSupervisorDatabase final : public install::SupervisorDatabase {
 public:
  explicit SqliteSupervisorDatabase(std::filesystem::path file) : file_(std::move(file)) {}

  base::Status check_schema() override;
  base::Result<std::vector<install::AppRow>> apps() override;
  base::Result<std::optional<std::string>> config_value(const std::string& key) override;
  base::Result<std::optional<std::string>> api_key() override;
  base::Status back_up(const std::filesystem::path& path) override;
  base::Status restore(const std::filesystem::path& path) override;
  base::Status write_target(const install::AppRow& row,
                            const std::optional<std::string>& pin) override;

 private:
  std::filesystem::path file_;
};

}  // namespace agent::platform
