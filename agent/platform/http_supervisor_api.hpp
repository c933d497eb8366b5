// The supervisor's HTTP API on the device.
#pragma once

#include <functional>
#include <string>

#include "install/supervisor.hpp"

namespace agent::platform {

class HttpSupervisorApi final : public install::SupervisorApi {
 public:
  /// \param address "http://HOST:PORT"
  /// \param key gives the API key; asked for each call, since a new database has a new one
  HttpSupervisorApi(std::string address, std::function<base::Result<std::string>()> key)
      : address_(std::move(address)), key_(std::move(key)) {}

  base::Result<install::SupervisorStatus> status() override;
  base::Result<std::string> version() override;

 private:
  /// The body of a 200 reply. \error ErrorCode::kSupervisorApi
  [[nodiscard]] base::Result<std::string> get(const std::string& target) const;

  std::string address_;
  std::function<base::Result<std::string>()> key_;
};

}  // namespace agent::platform
