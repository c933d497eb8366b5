// The steps that change what is neither OS nor release: which supervisor the OS starts, and
// config.json.
#include "base/files.hpp"
#include "base/log.hpp"
#include "install/config_step.hpp"
#include "install/supervisor_step.hpp"
#include "os_survey.hpp"
#include "plan/compatibility.hpp"
#include "plan/os_plan.hpp"
#include "update_steps.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using install::ConfigKeys;
using record::JournalEntry;
using record::SettingsChange;

constexpr std::chrono::seconds kPoll{2};

std::filesystem::path database_backup(const Config& config) {
  return config.state_dir / "supervisor-database.before-supervisor";
}

/// Whether the supervisor of the change is the one that the OS keeps already.
base::Result<bool> is_configured(const Config& config, const SettingsChange::Supervisor& wanted) {
  OU_TRY(const auto conf, install::read_supervisor_conf(config.host_root));
  return conf == install::with_supervisor(conf, wanted.name, wanted.version);
}

bool has_backup(const Config& config) {
  std::error_code unknown;
  return std::filesystem::exists(database_backup(config), unknown);
}

/// Whether the device has a newer supervisor than the bundle's: one that runs, or one that the OS
/// has been told to start. \error ErrorCode::kSupervisorVersion when that cannot be told
base::Result<bool> has_newer_supervisor(Device& device, const std::string& conf,
                                        const std::string& version) {
  auto present = install::supervisor_version_in(conf);
  if (const auto running = device.api.version()) {
    const auto order = plan::compare_versions(*running, present);
    present = !order || *order > 0 ? *running : present;
  }
  const auto order = plan::compare_versions(present, version);
  if (!order) {
    return Error(ErrorCode::kSupervisorVersion,
                 "cannot tell whether supervisor " + version +
                     " is newer than the one that the device has by now (\"" + present + "\")");
  }
  if (*order > 0) {
    base::log::warning("the device has got the newer supervisor " + present +
                       " meanwhile: that one stays");
  }
  return *order > 0;
}

/// While the OS was updated the device may have been online, and the OS's updater may have named
/// another supervisor: what is gone back to is what is there now, and never is an older one
/// started.
base::Status look_at_supervisor_again(Device& device, SettingsChange& settings) {
  OU_TRY(auto conf, install::read_effective_supervisor_conf(device.config.host_root));
  const auto& wanted = *settings.supervisor;
  const bool ours = install::supervisor_image_in(conf) == wanted.name &&
                    install::supervisor_version_in(conf) == wanted.version;
  if (ours) {
    return base::ok();  // an earlier try has written it, and the journal has what was there before
  }
  OU_TRY(const bool newer, has_newer_supervisor(device, conf, wanted.version));
  if (newer) {
    settings.supervisor.reset();
  } else {
    settings.old_supervisor_conf = std::move(conf);
  }
  return base::ok();
}

std::filesystem::path boot_partition(const Config& config) {
  return config.config_json().parent_path();
}

/// Of what is gone back to, the plan has seen what there was before the pull and before the OS.
base::Status look_again(Device& device, JournalEntry& entry) {
  auto& settings = *entry.settings;
  if (settings.supervisor) {
    OU_CHECK(look_at_supervisor_again(device, settings));
  }
  // Those that an earlier try has replaced already are not among them.
  OU_TRY(auto replaced,
         install::replaced_connections(boot_partition(device.config), settings.connections));
  for (auto& [name, content] : replaced) {
    settings.old_connections.insert_or_assign(name, std::move(content));
  }
  return device.journal.write(entry);
}

/// \pre the supervisor is stopped
base::Status patch_config(const Config& config, const std::string& patch, ConfigKeys keys) {
  OU_TRY(const bool changed, install::apply_config_patch(config.config_json(), patch, keys));
  if (changed) {
    base::log::info("config.json was changed");
  }
  return base::ok();
}

/// \pre the supervisor is stopped
base::Status write_settings(Device& device, const SettingsChange& settings) {
  const auto& config = device.config;
  OU_TRY(const auto added, install::add_connections(boot_partition(config), settings.connections));
  for (const auto& name : added) {
    base::log::info("added the connection " + name);
  }
  OU_CHECK(patch_config(config, settings.patch_json, ConfigKeys::kQuiet));
  if (!settings.supervisor) {
    return base::ok();
  }
  const auto& wanted = *settings.supervisor;
  OU_TRY(const bool configured, is_configured(config, wanted));
  if (!configured || !has_backup(config)) {  // else the new one may have changed it by now
    OU_CHECK(device.database.back_up(database_backup(config)));
  }
  OU_TRY(const auto conf, install::read_supervisor_conf(config.host_root));
  return install::write_supervisor_conf(
      config.host_root, install::with_supervisor(conf, wanted.name, wanted.version));
}

/// Until the supervisor answers with the version that the bundle brought.
base::Status wait_for_supervisor(Device& device, const std::string& version,
                                 const std::stop_token& stop) {
  device.progress.phase("waiting for the new supervisor", 0);
  const auto deadline = device.waiter.now() + device.config.apply_timeout;
  std::string last = "it did not answer";
  while (device.waiter.now() < deadline) {
    const auto present = device.api.version();
    if (present && *present == version) {
      return base::ok();
    }
    last = present ? "it says that it is " + *present : present.error().message();
    if (!device.waiter.wait(kPoll, stop)) {
      return Error(ErrorCode::kCancelled, "stopped while waiting for the new supervisor");
    }
  }
  return Error(ErrorCode::kSupervisorApi, "supervisor " + version + " did not start: " + last);
}

}  // namespace

base::Result<SettingsChange> describe_settings(const Device& device,
                                               const bundle::Manifest& manifest,
                                               const plan::DeviceFacts& facts) {
  SettingsChange settings;
  settings.patch_json = manifest.config.patch_json;
  settings.connections = manifest.config.connections;
  OU_TRY(settings.old_connections,
         install::replaced_connections(boot_partition(device.config), settings.connections));
  OU_TRY(settings.undo_json,
         install::previous_values(device.config.config_json(), manifest.config.patch_json));
  if (manifest.supervisor && manifest.supervisor->version != facts.supervisor_version) {
    OU_TRY(settings.old_supervisor_conf,
           install::read_effective_supervisor_conf(device.config.host_root));
    // Of an earlier update: going back must never end there.
    OU_CHECK(base::remove_file_durably(database_backup(device.config)));
    settings.supervisor = {.image = manifest.supervisor->image,
                           .name = manifest.supervisor->name,
                           .version = manifest.supervisor->version};
  }
  return settings;
}

base::Status change_settings(Device& device, JournalEntry& entry, const std::stop_token& stop) {
  auto access = supervisor_access(device);
  auto& settings = *entry.settings;
  device.progress.phase("changing settings", 0);
  // The cloud may have begun an update of the OS while the images were being pulled.
  if (const auto state = survey_os_state(device.config.host_root)) {
    OU_CHECK(plan::check_settled(*state));
  }
  OU_CHECK(look_again(device, entry));
  if (settings.supervisor) {  // named before the OS looks for it
    OU_CHECK(device.engine.tag(settings.supervisor->image, settings.supervisor->name + ":latest"));
  }
  OU_CHECK(
      install::with_supervisor_stopped(access, [&] { return write_settings(device, settings); }));
  if (settings.supervisor) {
    OU_CHECK(wait_for_supervisor(device, settings.supervisor->version, stop));
    settings.supervisor->runs = true;
  }
  return base::ok();
}

base::Status finish_settings(Device& device, const JournalEntry& entry) {
  if (!entry.settings) {
    return base::ok();
  }
  OU_TRY(const auto undo,
         install::previous_values(device.config.config_json(), entry.settings->patch_json));
  if (undo == "{}") {
    return base::ok();  // all of it is there: nothing has to be stopped for it
  }
  auto access = supervisor_access(device);
  return install::with_supervisor_stopped(access, [&] {
    return patch_config(device.config, entry.settings->patch_json, ConfigKeys::kEngineRestarting);
  });
}

base::Status undo_supervisor(Device& device, const JournalEntry& entry) {
  if (!entry.settings || !entry.settings->supervisor || entry.settings->supervisor->runs) {
    return base::ok();
  }
  const auto& settings = *entry.settings;
  const auto& config = device.config;
  auto access = supervisor_access(device);
  return install::with_supervisor_stopped(access, [&]() -> base::Status {
    OU_TRY(const bool configured, is_configured(config, *settings.supervisor));
    // The new one may have migrated the database; the old one could not read it.
    if (configured && has_backup(config)) {
      OU_CHECK(device.database.restore(database_backup(config)));
      OU_CHECK(install::write_supervisor_conf(config.host_root, settings.old_supervisor_conf));
    }
    return base::ok();
  });
}

base::Status undo_boot_settings(Device& device, const JournalEntry& entry) {
  if (!entry.settings) {
    return base::ok();
  }
  const auto& settings = *entry.settings;
  const auto& config = device.config;
  OU_TRY(const auto connections,
         install::put_back_connections(boot_partition(config), settings.connections,
                                       settings.old_connections));
  for (const auto& name : connections) {
    base::log::info("put back the connection " + name);
  }
  OU_TRY(const auto changes, install::previous_values(config.config_json(), settings.undo_json));
  if (changes == "{}") {
    return base::ok();  // all of it is as it was: nothing has to be stopped for it
  }
  auto access = supervisor_access(device);
  return install::with_supervisor_stopped(access, [&]() -> base::Status {
    OU_CHECK(patch_config(config, settings.undo_json, ConfigKeys::kQuiet));
    return patch_config(config, settings.undo_json, ConfigKeys::kEngineRestarting);
  });
}

}  // namespace agent
