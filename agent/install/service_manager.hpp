// What the agent needs of the host's systemd.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace agent::install {

/// A command that runs on the host, in the host's own namespaces, as a child of PID 1: it outlives
/// the agent's container and the engine. systemd/offline-updater-os.service gives the reasons.
struct TransientUnit {
  std::string name;  // "....service"
  std::string description;
  std::vector<std::string> command;  // absolute path first
  std::map<std::string, std::string> environment;
  std::string output_file;  // as the host sees it; what the command prints is appended
  std::chrono::seconds timeout{};
};

inline constexpr int kTransientIoWeight = 10;  // of 1 to 10000; 100 is everybody's
inline constexpr int kTransientNice = 10;
inline constexpr int kIdleIoClass = 3;  // \source ioprio_set(2): IOPRIO_CLASS_IDLE

/// The unit as a unit file would say it, one line each in the order of the file.
std::string to_unit_file(const TransientUnit& unit);

enum class UnitState {
  kAbsent,     // never started in this boot, or forgotten
  kRunning,    // started and not yet done
  kSucceeded,  // ended with exit code 0
  kFailed,     // ended in any other way
};

struct UnitReport {
  UnitState state = UnitState::kAbsent;
  int exit_code = 0;   // of the command; kFailed only
  std::string result;  // systemd's word for the failure: "exit-code", "timeout", "signal", ...
};

/// Units of the host's systemd, over D-Bus. \error ErrorCode::kServiceManager, kTimeout
class ServiceManager {
 public:
  ServiceManager() = default;
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;
  virtual ~ServiceManager() = default;
  /// Returns when the unit is inactive. A unit that does not exist is inactive.
  virtual base::Status stop(const std::string& unit, std::chrono::seconds timeout) = 0;
  /// Returns when the unit's start job is done.
  virtual base::Status start(const std::string& unit, std::chrono::seconds timeout) = 0;
  virtual base::Result<bool> is_active(const std::string& unit) = 0;

  /// Starts a transient unit of Type=oneshot; returns when systemd has accepted it. One of that
  /// name that has ended is replaced. \error as above, also when it still runs
  virtual base::Status run(const TransientUnit& unit) = 0;
  virtual base::Result<UnitReport> report(const std::string& unit) = 0;
  /// Stops it if it runs, and removes what systemd remembers of it.
  virtual base::Status forget(const std::string& unit, std::chrono::seconds timeout) = 0;
};

}  // namespace agent::install
