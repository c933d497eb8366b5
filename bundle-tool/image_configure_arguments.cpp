// The options of `bundle-tool image configure`.
#include <CLI/CLI.hpp>

#include "image_configure.hpp"

namespace tool {

void add_image_configure_options(CLI::App& command, ImageConfigureOptions& options) {
  command
      .add_option("--config", options.config,
                  "config.json to put into the image, as balenaCloud or `balena config generate` "
                  "gives it (default: the image's own is changed)")
      ->type_name("FILE");
  command
      .add_option("--set", options.settings,
                  "set one key of config.json, such as developmentMode=true or "
                  "os.network.connectivity.interval=600; as often as needed")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command
      .add_option("--network-wifi", options.wifi_ssid,
                  "WPA network to join, as the profile system-connections/resin-wifi")
      ->type_name("SSID");
  command
      .add_option("--wifi-passphrase-file", options.wifi_passphrase_file,
                  "file whose first line is the network's passphrase (default: "
                  "$OFFLINE_UPDATER_WIFI_PASSPHRASE, else asked for)")
      ->type_name("FILE");
  command
      .add_option("--system-connection", options.connections,
                  "NetworkManager keyfile to add under its own name; as often as needed")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command
      .add_option("--ssh-key", options.ssh_keys,
                  "file with public keys to add to os.sshKeys, one a line; as often as needed")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command.add_option("--splash", options.splash, "PNG picture to show while the device starts")
      ->type_name("FILE");
  command.add_option("IMG", options.image, "raw image file; it is changed in place")->required();
  command.footer(
      "A file named by --config replaces what the image has: a key that is not in it is gone.\n"
      "Values of --set are JSON where the key has a documented type, and text everywhere else.\n"
      "Examples:\n"
      "  bundle-tool image configure balena.img --config config.json --network-wifi shop\n"
      "  bundle-tool image configure balena.img --set hostname=till-3 --ssh-key id_ed25519.pub\n"
      "  bundle-tool image configure balena.img --config config.json --system-connection office");
}

}  // namespace tool
