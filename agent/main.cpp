// The command line of offline-updater-agent. Builds the real adapters: the only file that names
// them.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "base/log.hpp"
#include "boot/waiter.hpp"
#include "commands.hpp"
#include "config.hpp"
#include "daemon.hpp"
#include "device_lock.hpp"
#include "identity_arguments.hpp"
#include "intake/verified_bundle.hpp"
#include "platform/docker_engine.hpp"
#include "platform/http_supervisor_api.hpp"
#include "platform/libmount_mounter.hpp"
#include "platform/mount_namespace.hpp"
#include "platform/sqlite_supervisor_database.hpp"
#include "platform/systemd_service_manager.hpp"
#include "platform/udev_media_watcher.hpp"
#include "status_file.hpp"
#include "update_steps.hpp"
#include "update_worker.hpp"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX wants it declared

namespace agent {
namespace {

constexpr const char* kFooter = R"(Examples:
  offline-updater-agent run --config /etc/offline-updater/agent.conf
  offline-updater-agent install /mnt/stick --dry-run
  offline-updater-agent install /mnt/stick/spring.bundle
  offline-updater-agent status --json
  offline-updater-agent identity show

Options come from OFFLINE_UPDATER_* variables and from --config: docs/agent-options.md.
Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 went back, 5 interrupted: docs/agent.md.)";

std::map<std::string, std::string> environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) {
      variables.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return variables;
}

base::log::Level log_level(const std::string& name) {
  if (name == "debug") {
    return base::log::Level::kDebug;
  }
  if (name == "warning") {
    return base::log::Level::kWarning;
  }
  return name == "error" ? base::log::Level::kError : base::log::Level::kInfo;
}

/// SIGTERM and SIGINT as a stop token, for commands without an event loop. Threads that are started
/// later inherit the blocked signals.
class StopOnSignal {
 public:
  StopOnSignal() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    waiter_ = std::jthread([this] {
      int number = 0;
      sigwait(&signals_, &number);
      source_.request_stop();
    });
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
  ~StopOnSignal() {
    pthread_kill(waiter_.native_handle(), SIGTERM);  // blocked: the thread takes it
  }

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  sigset_t signals_{};
  std::stop_source source_;
  std::jthread waiter_;
};

media::MediaPolicy media_policy(const Config& config) {
  media::MediaPolicy policy;
  for (const auto kind :
       {media::DeviceKind::kUsb, media::DeviceKind::kSd, media::DeviceKind::kLoop}) {
    const std::string name(media::name_of(kind));
    if (std::find(config.media_kinds.begin(), config.media_kinds.end(), name) !=
        config.media_kinds.end()) {
      policy.kinds.insert(kind);
    }
  }
  policy.file_systems.insert(config.file_systems.begin(), config.file_systems.end());
  policy.loop_files = config.loop_files;
  return policy;
}

/// The real device, and the order in which its parts are made.
struct RealDevice {
  explicit RealDevice(const Config& config, record::Ledger opened_ledger)
      : engine(config.engine_socket),
        database(config.supervisor_database()),
        api(config.supervisor_address, [this, &config] { return api_key(config); }),
        services(config.dbus_address),
        journal(config.state_dir),
        ledger(std::move(opened_ledger)),
        status(config.runtime_dir),
        device{.config = config,
               .engine = engine,
               .database = database,
               .api = api,
               .services = services,
               .journal = journal,
               .ledger = ledger,
               .progress = status,
               .waiter = waiter} {}
  RealDevice(const RealDevice&) = delete;
  RealDevice& operator=(const RealDevice&) = delete;

  /// The key that balena gave this service, or the supervisor's own from its database.
  base::Result<std::string> api_key(const Config& config) {
    if (!config.supervisor_api_key.empty()) {
      return config.supervisor_api_key;
    }
    OU_TRY(const auto key, database.api_key());
    return key.value_or("");
  }

  platform::DockerEngine engine;
  platform::SqliteSupervisorDatabase database;
  platform::HttpSupervisorApi api;
  platform::SystemdServiceManager services;
  record::Journal journal;
  record::Ledger ledger;
  StatusFile status;
  boot::SteadyWaiter waiter;
  Device device;
};

Exit fail(const base::Error& error, bool json, Exit code) {
  print_error(error, json);
  return code;
}

Exit run_command(const Config& config) {
  const auto lock = lock_device(config.state_dir);
  if (!lock) {
    return fail(lock.error(), false, Exit::kFailed);
  }
  auto trust = intake::load_trust(config.trust_file);
  if (!trust) {
    return fail(trust.error(), false, Exit::kUsage);
  }
  if (const auto entered = platform::enter_private_mount_namespace(); !entered) {
    return fail(entered.error(), false, Exit::kFailed);
  }
  auto mounter = platform::LibmountMounter::create(config.runtime_dir / "media", config.host_root);
  auto watcher = platform::UdevMediaWatcher::create();
  if (!mounter || !watcher) {
    return fail(mounter ? watcher.error() : mounter.error(), false, Exit::kFailed);
  }
  RealDevice real(config, record::Ledger::unopened(config.state_dir));
  const record::OutcomeStore outcomes(config.state_dir);
  UpdateWorker worker(real.device, **mounter, media_policy(config), *std::move(trust), outcomes);
  if (const auto ended = run_daemon(**watcher, worker); !ended) {
    return fail(ended.error(), false, Exit::kFailed);
  }
  return Exit::kDone;
}

Exit install(const Config& config, const InstallOptions& options) {
  base::UniqueFd device_lock;
  base::UniqueFd update_lock;
  if (!options.dry_run) {
    auto device = lock_device(config.state_dir);
    if (!device) {
      return fail(device.error(), options.json, Exit::kFailed);
    }
    device_lock = *std::move(device);
    auto update = lock_update(config.state_dir);
    if (!update) {
      return fail(update.error(), options.json, Exit::kFailed);
    }
    update_lock = *std::move(update);
  }
  const StopOnSignal stop;
  auto ledger = record::Ledger::open(config.state_dir);
  if (!ledger) {
    return fail(ledger.error(), options.json, Exit::kFailed);
  }
  RealDevice real(config, *std::move(ledger));
  return install_command(real.device, record::OutcomeStore(config.state_dir), options,
                         stop.token());
}

Exit identity(const Config& config, const ChosenIdentityCommand& chosen) {
  using Name = ChosenIdentityCommand::Name;
  if (chosen.name == Name::kShow) {
    return identity_show_command(config, chosen.options.json);
  }
  if (chosen.name == Name::kExport) {
    return identity_export_command(config, chosen.options);
  }
  auto ledger = record::Ledger::open(config.state_dir);
  if (!ledger) {
    return fail(ledger.error(), chosen.options.json, Exit::kFailed);
  }
  RealDevice real(config, *std::move(ledger));
  auto access = supervisor_access(real.device);
  return identity_restore_command(config, chosen.options, [&access](const auto& work) {
    return install::with_supervisor_stopped(access, work);
  });
}

int main_of(int argc, char** argv) {
  CLI::App app{"Installs signed update bundles from USB media on balenaOS devices."};
  app.footer(kFooter);
  app.require_subcommand(1);
  std::string config_file;
  bool json = false;
  InstallOptions options;
  const auto common = [&](CLI::App* command) {
    command->add_option("--config", config_file, "File with OFFLINE_UPDATER_NAME=VALUE lines");
    command->footer(kFooter);
    return command;
  };
  auto* run = common(app.add_subcommand("run", "Watch media and install what they bring"));
  auto* install_app = common(app.add_subcommand("install", "Install from a mounted directory"));
  install_app->add_option("PATH", options.path, "A bundle, or a directory that holds bundles")
      ->required();
  install_app->add_flag("--dry-run", options.dry_run, "Print the plan; change nothing");
  install_app->add_flag("--stage", options.stage,
                        "Copy the bundle to the device before installing");
  install_app->add_flag("--again", options.again, "Also a bundle that failed here before");
  install_app->add_flag("--json", options.json, "Print one JSON object");
  auto* status = common(app.add_subcommand("status", "What runs, and how the last update ended"));
  status->add_flag("--json", json, "Print one JSON object");
  ChosenIdentityCommand chosen;
  add_identity_arguments(app, config_file, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(Exit::kUsage);
  }

  const auto config = load_config(
      config_file.empty() ? std::nullopt : std::optional<std::filesystem::path>(config_file),
      environment());
  if (!config) {
    return static_cast<int>(
        fail(config.error(), json || options.json || chosen.options.json, Exit::kUsage));
  }
  base::log::start(log_level(config->log_level));
  if (run->parsed()) {
    return static_cast<int>(run_command(*config));
  }
  if (install_app->parsed()) {
    return static_cast<int>(install(*config, options));
  }
  if (chosen.name != ChosenIdentityCommand::Name::kNone) {
    return static_cast<int>(identity(*config, chosen));
  }
  platform::SqliteSupervisorDatabase database(config->supervisor_database());
  return static_cast<int>(status_command(*config, database, json));
}

}  // namespace
}  // namespace agent

int main(int argc, char** argv) {
  return agent::main_of(argc, argv);
}
