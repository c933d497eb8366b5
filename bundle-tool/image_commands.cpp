#include "image_commands.hpp"

#include <CLI/CLI.hpp>

#include "image_preload_arguments.hpp"

namespace tool {
namespace {

constexpr const char* kAnyImage = "the image: raw, or packed as .zip, .gz, .bz2, .xz or .zst";

}  // namespace

void ImageCommands::add_to(CLI::App& app, const AddCommand& add) {
  CLI::App* image = app.add_subcommand(
      "image", "look into, change and write balenaOS image files: no Docker, no root");
  image->require_subcommand(1);
  image->footer(
      "From a downloaded image to a medium that installs your fleet's release:\n"
      "  bundle-tool image inspect balena.img\n"
      "  bundle-tool image configure balena.img --config config.json\n"
      "  bundle-tool image preload balena.img --bundle shop-7.bundle\n"
      "  bundle-tool image flash balena.img --drive /dev/sdb");
  add_inspect(*image, add);
  add_configure(*image, add);
  add_preload(*image, add);
  add_extract(*image, add);
  add_flash(*image, add);
  add_drives(app, add);
}

void ImageCommands::add_inspect(CLI::App& image, const AddCommand& add) {
  CLI::App* command = add(image, "inspect", "show what a balenaOS image holds, without changing it",
                          [this](Console& console) { return image_inspect(inspect_, console); });
  command
      ->add_option("--scratch", inspect_.scratch,
                   "directory to unpack compressed and flasher images to (default: $TMPDIR, else "
                   "/var/tmp)")
      ->type_name("DIRECTORY");
  command->add_option("IMG", inspect_.image, kAnyImage)->required();
  command->footer(
      "Examples:\n"
      "  bundle-tool image inspect balena-cloud-shop-raspberrypi4-64.img.zip\n"
      "  bundle-tool image inspect --json balena.img");
}

void ImageCommands::add_configure(CLI::App& image, const AddCommand& add) {
  CLI::App* command =
      add(image, "configure", "put a config.json, networks and keys into a balenaOS image",
          [this](Console& console) { return image_configure(configure_, console); });
  add_image_configure_options(*command, configure_);
}

void ImageCommands::add_preload(CLI::App& image, const AddCommand& add) {
  CLI::App* command = add(image, "preload", "put a release into a balenaOS image",
                          [this](Console& console) { return image_preload(preload_, console); });
  add_image_preload_options(*command, preload_);
}

void ImageCommands::add_extract(CLI::App& image, const AddCommand& add) {
  CLI::App* command =
      add(image, "extract", "take host OS, supervisor and release out of a balenaOS image",
          [this](Console& console) { return image_extract(extract_, console); });
  command->add_option("--os", extract_.os, "the host OS's image (hostapp), into a new directory")
      ->type_name("oci:DIR");
  command
      ->add_option("--supervisor", extract_.supervisor,
                   "the supervisor's image, into a new directory")
      ->type_name("oci:DIR");
  command
      ->add_option("--release", extract_.release,
                   "the images of the preloaded release and its apps.json, into a new directory")
      ->type_name("oci:DIR");
  command->add_option("IMG", extract_.image, kAnyImage)->required();
  command->footer(
      "create takes host OS and supervisor from the image itself: --os-image image:IMG.\n"
      "Examples:\n"
      "  bundle-tool image extract balena.img.zip --os oci:hostapp --supervisor oci:supervisor\n"
      "  bundle-tool image extract preloaded.img --release oci:release");
}

void ImageCommands::add_flash(CLI::App& image, const AddCommand& add) {
  CLI::App* command = add(image, "flash", "write a disk image to a drive and prove that it arrived",
                          [this](Console& console) { return image_flash(flash_, console); });
  command->add_option("IMG", flash_.image, kAnyImage)->required();
  command->add_option("--drive", flash_.drive, "the drive, see bundle-tool drives")
      ->type_name("DEVICE")
      ->required();
  command->add_flag("--yes", flash_.yes, "do not ask before overwriting the drive");
  command->add_flag("--no-verify", flash_.no_verify, "do not read everything back");
  command->add_flag("--allow-fixed", flash_.allow_fixed,
                    "also take a drive that is not removable, such as an internal disk or a loop "
                    "device; never one that is in use");
  command->footer(
      "The partition table is written last: an interrupted drive has none.\n"
      "Examples:\n"
      "  bundle-tool image flash balena.img.zip --drive /dev/sdb\n"
      "  bundle-tool image flash balena.img --drive /dev/disk/by-id/usb-Stick --yes --json");
}

void ImageCommands::add_drives(CLI::App& app, const AddCommand& add) {
  CLI::App* command = add(app, "drives", "list the drives that an image may be written to",
                          [this](Console&) { return drives(drives_); });
  command->add_flag("--all", drives_.all, "also virtual ones, such as loop devices");
  command->footer("Examples:\n  bundle-tool drives\n  bundle-tool drives --json");
}

}  // namespace tool
