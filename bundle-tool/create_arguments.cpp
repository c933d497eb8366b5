#include "create_arguments.hpp"

#include <CLI/CLI.hpp>

#include "release_builder.hpp"
#include "usage.hpp"

namespace tool {
namespace {

void add_release_options(CLI::App& command, CreateOptions& options) {
  const std::string group = "Release";
  CLI::Option* compose = command.add_option("--compose", options.compose,
                                            "docker-compose.yml that describes the release");
  CLI::Option* state =
      command.add_option("--target-state", options.target_state,
                         "apps.json (v3) or a fleet's target state, taken as it is");
  compose->excludes(state)->type_name("FILE")->group(group);
  state->excludes(compose)->type_name("FILE")->group(group);
  command
      .add_option("--image", options.images,
                  "where a service's image comes from: docker-archive:FILE, oci:DIR[:TAG], "
                  "oci-archive:FILE[:TAG], docker-daemon:REF or image:IMG, a balenaOS image that "
                  "has been preloaded; once for each service")
      ->type_name("SERVICE=SOURCE")
      ->group(group);
  command
      .add_option("--platform", options.platform,
                  "which one of a source with several platforms, such as linux/arm64")
      ->type_name("OS/ARCH")
      ->group(group);
  command
      .add_option("--commit", options.commit,
                  "the release's commit (default: the target state's, else made from the content)")
      ->type_name("HEX")
      ->group(group);
  command
      .add_option("--app-name", options.app_name,
                  "the fleet's name (default: what the release says, else --name)")
      ->type_name("NAME")
      ->group(group);
  command
      .add_option("--registry-name", options.registry_name,
                  "host part of the image names made for --compose; the default exists nowhere")
      ->type_name("HOST")
      ->default_val(std::string(kDefaultRegistryName))
      ->group(group);
}

void add_host_options(CLI::App& command, HostOptions& options) {
  const std::string group = "Host OS";
  command
      .add_option("--os-image", options.os_image,
                  "a hostapp image of balenaOS, from a source as --image takes it; image:IMG is "
                  "the balenaOS image as downloaded, raw or compressed")
      ->type_name("SOURCE")
      ->group(group);
  command
      .add_option("--supervisor-image", options.supervisor_image,
                  "a supervisor, from a source as --image takes it; with image:IMG the two options "
                  "below may be left out")
      ->type_name("SOURCE")
      ->group(group);
  command
      .add_option("--supervisor-name", options.supervisor_name,
                  "under which the host OS looks for the supervisor, without tag and digest")
      ->type_name("REGISTRY/PATH")
      ->group(group);
  command
      .add_option("--supervisor-version", options.supervisor_version, "the supervisor's version")
      ->type_name("VERSION")
      ->group(group);
  command
      .add_option("--config-patch", options.config_patch,
                  "JSON merge patch for config.json; only settings, never identity or endpoints")
      ->type_name("FILE")
      ->group(group);
  command
      .add_option("--system-connection", options.connections,
                  "NetworkManager keyfile to add under its own name; as often as needed. Passwords "
                  "in it can be read by whoever has the bundle")
      ->type_name("FILE")
      ->group(group);
}

void add_target_options(CLI::App& command, CreateArguments& arguments) {
  const std::string group = "Which devices";
  bundle::Targets& targets = arguments.options.targets;
  command
      .add_option("--fleet-uuid", targets.fleet_uuid,
                  "the fleet (app) UUID; may be left out if the target state names one fleet")
      ->type_name("UUID")
      ->group(group);
  command
      .add_option("--device-type", targets.device_types,
                  "device type slug; as often as needed (default: the host OS's, if there is one)")
      ->type_name("SLUG")
      ->group(group);
  command
      .add_option("--device-uuid", targets.device_uuids,
                  "only this device; as often as needed (default: the whole fleet)")
      ->type_name("UUID")
      ->group(group);
  command
      .add_option("--device-list", arguments.options.device_list,
                  "file with one device UUID a line, # starts a comment")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--min-os", arguments.min_os, "lowest host OS version")
      ->type_name("VERSION")
      ->group(group);
  command.add_option("--max-os", arguments.max_os, "highest host OS version")
      ->type_name("VERSION")
      ->group(group);
  command.add_option("--min-supervisor", arguments.min_supervisor, "lowest supervisor version")
      ->type_name("VERSION")
      ->group(group);
  command.add_option("--max-supervisor", arguments.max_supervisor, "highest supervisor version")
      ->type_name("VERSION")
      ->group(group);
  command
      .add_option("--sequence", arguments.options.sequence,
                  "number of this bundle within the fleet; devices take none below the highest "
                  "they have confirmed")
      ->type_name("N")
      ->check(CLI::Range(std::uint64_t{1}, static_cast<std::uint64_t>(INT64_MAX)))
      ->required()
      ->group(group);
}

void add_policy_options(CLI::App& command, CreateArguments& arguments) {
  const std::string group = "Policy";
  bundle::Policy& policy = arguments.options.policy;
  command
      .add_option("--confirm-seconds", policy.confirm_seconds,
                  "how long the new release must run well before it is kept")
      ->type_name("N")
      ->check(CLI::Range(std::uint32_t{1}, bundle::kMaxConfirmSeconds))
      ->capture_default_str()
      ->group(group);
  command
      .add_option(
          "--health", arguments.health,
          "what running well means: \"running\", or \"healthy\", which asks health checks too")
      ->type_name("CRITERION")
      ->check(CLI::IsMember({"running", "healthy"}))
      ->capture_default_str()
      ->group(group);
  command
      .add_flag("--override-update-lock", policy.override_update_lock,
                "update even while a service holds its update lock")
      ->group(group);
  command
      .add_flag("--allow-os-downgrade", policy.allow_os_downgrade,
                "install the host OS also where a newer one runs")
      ->group(group);
  command
      .add_flag("--stage", policy.stage,
                "devices copy the bundle to themselves first, so that the medium can go on")
      ->group(group);
  command
      .add_flag("--no-pin", arguments.no_pin,
                "do not pin devices to this release: the cloud's release wins once they connect")
      ->group(group);
}

void add_output_options(CLI::App& command, CreateArguments& arguments) {
  const std::string group = "Output";
  CreateOptions& options = arguments.options;
  command.add_option("--output", options.output, "the bundle to write")
      ->type_name("NAME.bundle")
      ->required()
      ->group(group);
  command.add_flag("--force", options.force, "replace a bundle of that name")->group(group);
  command
      .add_option("--name", options.name, "the bundle's name for people (default: the output's)")
      ->type_name("NAME")
      ->group(group);
  CLI::Option* keys = command
                          .add_option("--sign-key", options.sign_keys,
                                      "secret key to sign with; as often as needed")
                          ->type_name("KEY")
                          ->group(group);
  command
      .add_option("--password-file", options.password_file,
                  "file whose first line is the keys' password (default: "
                  "$OFFLINE_UPDATER_KEY_PASSWORD, else asked for)")
      ->type_name("FILE")
      ->group(group);
  command
      .add_flag("--unsigned", arguments.is_unsigned,
                "do not sign now: bundle-tool sign does it elsewhere")
      ->excludes(keys)
      ->group(group);
  command.add_option("--level", options.packing.zstd_level, "zstd level")
      ->type_name("1..19")
      ->check(CLI::Range(1, 19))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--chunk-size", arguments.chunk_bytes,
                  "size of the pieces that are verified one by one, such as 1MiB")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1MiB")
      ->group(group);
  command
      .add_option("--threads", options.packing.threads,
                  "for compressing; 0: as many as there are processors; never changes the bytes")
      ->type_name("N")
      ->check(CLI::Range(0U, 256U))
      ->capture_default_str()
      ->group(group);
}

std::optional<std::string> given(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

}  // namespace

void add_create_options(CLI::App& command, CreateArguments& arguments) {
  add_output_options(command, arguments);
  add_release_options(command, arguments.options);
  add_host_options(command, arguments.options.host);
  add_target_options(command, arguments);
  add_policy_options(command, arguments);
  command.footer(
      "Examples:\n"
      "  bundle-tool create --output shop-7.bundle --sign-key owner.key --sequence 7 \\\n"
      "    --fleet-uuid 6d2c3c6e9f6f4f4b8b0c1f0e2f9a7c11 --device-type raspberrypi4-64 \\\n"
      "    --compose docker-compose.yml \\\n"
      "    --image main=docker-archive:main.tar --image db=oci:layouts/db:latest\n"
      "  bundle-tool create --output shop-8.bundle --unsigned --sequence 8 \\\n"
      "    --target-state apps.json --device-type raspberrypi4-64 \\\n"
      "    --image main=docker-daemon:shop/main:8\n"
      "  bundle-tool create --output os-9.bundle --sign-key owner.key --sequence 9 \\\n"
      "    --fleet-uuid 6d2c3c6e9f6f4f4b8b0c1f0e2f9a7c11 --os-image docker-archive:hostapp.tar\n"
      "  bundle-tool create --output os-10.bundle --sign-key owner.key --sequence 10 \\\n"
      "    --fleet-uuid 6d2c3c6e9f6f4f4b8b0c1f0e2f9a7c11 --os-image image:balena.img.zip \\\n"
      "    --supervisor-image image:balena.img.zip\n"
      "The same inputs give the same bytes if SOURCE_DATE_EPOCH is set.");
}

base::Result<CreateOptions> finish(const CreateArguments& arguments) {
  CreateOptions options = arguments.options;
  if (!options.has_release() && options.host.os_image.empty()) {
    return usage(
        "what is to be installed? pass --compose docker-compose.yml or --target-state apps.json "
        "for a release, --os-image SOURCE for a host OS, or both");
  }
  if (!options.has_release() &&
      !(options.images.empty() && options.commit.empty() && options.app_name.empty())) {
    return usage(
        "--image, --commit and --app-name describe a release: pass --compose or --target-state "
        "too");
  }
  if (options.policy.allow_os_downgrade && options.host.os_image.empty()) {
    return usage("--allow-os-downgrade goes with --os-image");
  }
  if (options.sign_keys.empty() && !arguments.is_unsigned) {
    return usage("--sign-key is missing; pass --unsigned to sign later with bundle-tool sign");
  }
  if (arguments.chunk_bytes > bundle::kMaxChunkBytes) {
    return usage("--chunk-size must be between 64KiB and 4MiB");
  }
  options.packing.chunk_bytes = static_cast<std::uint32_t>(arguments.chunk_bytes);
  options.targets.os_version = {given(arguments.min_os), given(arguments.max_os)};
  options.targets.supervisor_version = {given(arguments.min_supervisor),
                                        given(arguments.max_supervisor)};
  options.policy.pin = !arguments.no_pin;
  options.policy.health = arguments.health == "running" ? bundle::HealthCriterion::kRunning
                                                        : bundle::HealthCriterion::kHealthy;
  return options;
}

}  // namespace tool
