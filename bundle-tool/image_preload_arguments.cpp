#include "image_preload_arguments.hpp"

#include <CLI/CLI.hpp>

namespace tool {

void add_image_preload_options(CLI::App& command, ImagePreloadOptions& options) {
  command.add_option("IMG", options.image, "a balenaOS image, not compressed")->required();
  CLI::Option* bundle =
      command.add_option("--bundle", options.bundle, "a bundle whose release goes in")
          ->type_name("NAME.bundle");
  CLI::Option* state =
      command
          .add_option("--target-state", options.target_state,
                      "apps.json (v3) or a fleet's target state; with --image for each service")
          ->type_name("FILE");
  bundle->excludes(state);
  state->excludes(bundle);
  command
      .add_option("--image", options.images,
                  "where a service's image comes from: docker-archive:FILE, oci:DIR[:TAG], "
                  "oci-archive:FILE[:TAG] or docker-daemon:REF; once for each service")
      ->type_name("SERVICE=SOURCE")
      ->allow_extra_args(false);
  command
      .add_option("--platform", options.platform,
                  "which one of a source with several platforms, such as linux/arm64")
      ->type_name("OS/ARCH");
  command
      .add_option("--trust", options.trust,
                  "verify the bundle's signatures against this first; as often as needed")
      ->type_name("FILE|KEY")
      ->allow_extra_args(false);
  command.add_flag("--pin", options.pin,
                   "pin devices to this release, so that a later connection keeps it");
  command
      .add_option("--additional-space", options.additional_bytes,
                  "room to leave free in the data partition, such as 500MB or 1GiB")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false));
  command.footer(
      "Needs no root, no Docker and no network. The data partition grows by what is missing. The\n"
      "image is replaced at the end, in one step: until then it is as it was.\n"
      "Examples:\n"
      "  bundle-tool image preload balena.img --bundle shop-7.bundle --trust owner.pub\n"
      "  bundle-tool image preload balena.img --target-state apps.json --pin \\\n"
      "    --image main=docker-archive:main.tar --image db=oci:db-layout:latest");
}

}  // namespace tool
