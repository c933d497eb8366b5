#include "identity_arguments.hpp"

#include <CLI/CLI.hpp>

namespace agent {
namespace {

using Name = ChosenIdentityCommand::Name;

constexpr const char* kFooter = R"(Examples:
  offline-updater-agent identity show
  offline-updater-agent identity export --to owner-identity.pub --output shop-7.identity
  offline-updater-agent identity restore --from-backup data)";

}  // namespace

void add_identity_arguments(CLI::App& app, std::string& config_file,
                            ChosenIdentityCommand& chosen) {
  auto* identity = app.add_subcommand("identity", "Who this device is: show, export, restore");
  identity->require_subcommand(1);
  identity->footer(kFooter);
  auto& options = chosen.options;
  const auto add = [&](const char* command, const char* description, Name name) {
    auto* added = identity->add_subcommand(command, description);
    added->add_option("--config", config_file, "File with OFFLINE_UPDATER_NAME=VALUE lines");
    added->add_flag("--json", options.json, "Print one JSON object");
    added->callback([&chosen, name] { chosen.name = name; });
    added->footer(kFooter);
    return added;
  };
  add("show", "Identity without its secrets, and the state of its backups", Name::kShow);

  auto* exporting = add("export", "Seal identity and boot settings for the owner", Name::kExport);
  exporting->add_option("--to", options.public_key, "Public key of `bundle-tool identity keygen`")
      ->required();
  exporting->add_option("--output", options.output, "File to make; is not there yet")->required();

  auto* restoring = add("restore", "Put the identity back into config.json", Name::kRestore);
  auto* from_backup =
      restoring->add_option("--from-backup", options.from_backup, "Take this copy: state or data")
          ->check(CLI::IsMember({"state", "data"}));
  auto* file = restoring->add_option("--config-json", options.config_json,
                                     "Take config.json of an export that its owner has opened");
  restoring
      ->add_flag("--new-device", options.new_device,
                 "This device becomes the one of --config-json, whose own is lost for good")
      ->needs(file);
  file->excludes(from_backup);
}

}  // namespace agent
