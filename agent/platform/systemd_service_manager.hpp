// Units of the host's systemd, over D-Bus.
#pragma once

#include <string>

#include "install/service_manager.hpp"

namespace agent::platform {

/// Each call opens a connection of its own, so that a restarted bus does no harm.
/// \source org.freedesktop.systemd1(5); systemd/offline-updater-os.service for transient units
class SystemdServiceManager final : public install::ServiceManager {
 public:
  /// \param address of the bus; empty: the system bus
  explicit SystemdServiceManager(std::string address) : address_(std::move(address)) {}

  base::Status stop(const std::string& unit, std::chrono::seconds timeout) override;
  base::Status start(const std::string& unit, std::chrono::seconds timeout) override;
  base::Result<bool> is_active(const std::string& unit) override;
  base::Status run(const install::TransientUnit& unit) override;
  base::Result<install::UnitReport> report(const std::string& unit) override;
  base::Status forget(const std::string& unit, std::chrono::seconds timeout) override;

 private:
  std::string address_;
};

}  // namespace agent::platform
