#include "platform/systemd_service_manager.hpp"

#include <sdbus-c++/sdbus-c++.h>

#include <condition_variable>
#include <map>
#include <mutex>

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;

constexpr const char* kService = "org.freedesktop.systemd1";
constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kUnit = "org.freedesktop.systemd1.Unit";
constexpr const char* kServiceInterface = "org.freedesktop.systemd1.Service";
constexpr const char* kNoSuchUnit = "org.freedesktop.systemd1.NoSuchUnit";

Error bus_error(const std::string& doing, const sdbus::Error& error) {
  return Error(ErrorCode::kServiceManager,
               doing + " over D-Bus: " + error.getName() + ": " + error.getMessage());
}

std::unique_ptr<sdbus::IConnection> connect(const std::string& address) {
  return address.empty() ? sdbus::createSystemBusConnection()
                         : sdbus::createSessionBusConnectionWithAddress(address);
}

/// How systemd's jobs ended, as its signals say.
class FinishedJobs {
 public:
  void add(const std::string& job, const std::string& result) {
    const std::lock_guard lock(mutex_);
    results_[job] = result;
    changed_.notify_all();
  }
  /// "done", "failed", "canceled", ...; nothing after `timeout`.
  std::optional<std::string> wait(const std::string& job, std::chrono::seconds timeout) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, timeout, [&] { return results_.contains(job); })) {
      return std::nullopt;
    }
    return results_[job];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> results_;
};

/// Calls StartUnit or StopUnit and waits for the job. Throws what sdbus-c++ throws.
base::Status run_job(const std::string& address, const std::string& method, const std::string& unit,
                     std::chrono::seconds timeout) {
  FinishedJobs jobs;
  const auto connection = connect(address);
  const auto manager = sdbus::createProxy(*connection, kService, kManagerPath);
  manager->uponSignal("JobRemoved")
      .onInterface(kManager)
      .call([&jobs](const std::uint32_t& /*id*/, const sdbus::ObjectPath& job,
                    const std::string& /*unit*/,
                    const std::string& result) { jobs.add(job, result); });
  manager->finishRegistration();
  connection->enterEventLoopAsync();
  manager->callMethod("Subscribe").onInterface(kManager);
  sdbus::ObjectPath job;
  manager->callMethod(method)
      .onInterface(kManager)
      .withArguments(unit, "replace")
      .storeResultsTo(job);
  const auto result = jobs.wait(job, timeout);
  connection->leaveEventLoop();
  if (!result) {
    return Error(ErrorCode::kTimeout,
                 method + " " + unit + " did not end in " + std::to_string(timeout.count()) + " s");
  }
  if (*result != "done") {
    return Error(ErrorCode::kServiceManager, method + " " + unit + " ended with " + *result);
  }
  return base::ok();
}

using Property = sdbus::Struct<std::string, sdbus::Variant>;
using Command = sdbus::Struct<std::string, std::vector<std::string>, bool>;
using Auxiliary = sdbus::Struct<std::string, std::vector<Property>>;

template <typename T>
Property property(const char* name, T value) {
  return Property(name, sdbus::Variant(std::move(value)));
}

/// What to_unit_file() says, as D-Bus has it.
std::vector<Property> properties_of(const install::TransientUnit& unit) {
  std::vector<std::string> environment;
  for (const auto& [name, value] : unit.environment) {
    environment.push_back(name + "=" + value);
  }
  const std::vector<Command> commands{Command(unit.command.front(), unit.command, false)};
  const auto microseconds = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(unit.timeout).count());
  return {property("Description", unit.description),
          property("Type", std::string("oneshot")),
          property("RemainAfterExit", true),
          property("Environment", environment),
          property("ExecStart", commands),
          property("StandardOutputFileToAppend", unit.output_file),
          property("StandardErrorFileToAppend", unit.output_file),
          property("TimeoutStartUSec", microseconds),
          property("IOWeight", std::uint64_t{install::kTransientIoWeight}),
          property("IOSchedulingClass", std::int32_t{install::kIdleIoClass}),
          property("Nice", std::int32_t{install::kTransientNice})};
}

sdbus::ObjectPath unit_path(sdbus::IProxy& manager, const std::string& unit) {
  sdbus::ObjectPath path;
  manager.callMethod("LoadUnit").onInterface(kManager).withArguments(unit).storeResultsTo(path);
  return path;
}

}  // namespace

base::Status SystemdServiceManager::stop(const std::string& unit, std::chrono::seconds timeout) {
  try {
    return run_job(address_, "StopUnit", unit, timeout);
  } catch (const sdbus::Error& error) {
    if (error.getName() == kNoSuchUnit) {
      return base::ok();
    }
    return bus_error("stop " + unit, error);
  }
}

base::Status SystemdServiceManager::start(const std::string& unit, std::chrono::seconds timeout) {
  try {
    return run_job(address_, "StartUnit", unit, timeout);
  } catch (const sdbus::Error& error) {
    return bus_error("start " + unit, error);
  }
}

base::Result<bool> SystemdServiceManager::is_active(const std::string& unit) {
  try {
    const auto connection = connect(address_);
    const auto manager = sdbus::createProxy(*connection, kService, kManagerPath);
    sdbus::ObjectPath path;
    manager->callMethod("LoadUnit").onInterface(kManager).withArguments(unit).storeResultsTo(path);
    const auto proxy = sdbus::createProxy(*connection, kService, path);
    const std::string state = proxy->getProperty("ActiveState").onInterface(kUnit);
    return state == "active" || state == "reloading";
  } catch (const sdbus::Error& error) {
    return bus_error("look at " + unit, error);
  }
}

base::Status SystemdServiceManager::run(const install::TransientUnit& unit) {
  try {
    const auto connection = connect(address_);
    const auto manager = sdbus::createProxy(*connection, kService, kManagerPath);
    sdbus::ObjectPath job;
    manager->callMethod("StartTransientUnit")
        .onInterface(kManager)
        .withArguments(unit.name, "fail", properties_of(unit), std::vector<Auxiliary>())
        .storeResultsTo(job);
    return base::ok();
  } catch (const sdbus::Error& error) {
    return bus_error("run " + unit.name, error);
  }
}

base::Result<install::UnitReport> SystemdServiceManager::report(const std::string& unit) {
  try {
    const auto connection = connect(address_);
    const auto manager = sdbus::createProxy(*connection, kService, kManagerPath);
    const auto proxy = sdbus::createProxy(*connection, kService, unit_path(*manager, unit));
    const std::string loaded = proxy->getProperty("LoadState").onInterface(kUnit);
    const std::string state = proxy->getProperty("ActiveState").onInterface(kUnit);
    if (loaded == "not-found" || state == "inactive") {
      return install::UnitReport{};
    }
    install::UnitReport report;
    if (state == "failed") {
      const std::string result = proxy->getProperty("Result").onInterface(kServiceInterface);
      const std::int32_t code = proxy->getProperty("ExecMainStatus").onInterface(kServiceInterface);
      report = {install::UnitState::kFailed, code, result};
    } else {
      report.state =
          state == "active" ? install::UnitState::kSucceeded : install::UnitState::kRunning;
    }
    return report;
  } catch (const sdbus::Error& error) {
    return bus_error("look at " + unit, error);
  }
}

base::Status SystemdServiceManager::forget(const std::string& unit, std::chrono::seconds timeout) {
  OU_CHECK(stop(unit, timeout));
  try {
    const auto connection = connect(address_);
    const auto manager = sdbus::createProxy(*connection, kService, kManagerPath);
    manager->callMethod("ResetFailedUnit").onInterface(kManager).withArguments(unit);
    return base::ok();
  } catch (const sdbus::Error& error) {
    return error.getName() == kNoSuchUnit ? base::ok()
                                          : base::Status(bus_error("forget " + unit, error));
  }
}

}  // namespace agent::platform
