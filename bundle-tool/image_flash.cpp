#include "image_flash.hpp"

#include <unistd.h>

#include <chrono>
#include <iostream>
#include <string>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "drives.hpp"
#include "image/block_target.hpp"
#include "image/drive.hpp"
#include "image/drive_writer.hpp"
#include "image/image_stream.hpp"
#include "stop_signals.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

Result<image::Drive> choose_drive(const ImageFlashOptions& options) {
  OU_TRY(image::Drive drive, image::find_drive(options.drive));
  const auto refusal = image::refusal_of(drive, options.allow_fixed);
  if (!refusal) {
    return drive;
  }
  std::string advice = "; bundle-tool drives lists what there is";
  if (!image::refusal_of(drive, true)) {
    advice = ": pass --allow-fixed if this is really the one to be overwritten";
  } else if (!drive.holds_system() && !drive.uses.empty()) {
    advice = ": unmount it, or end what uses it";
  }
  return Error(ErrorCode::kDriveRefused,
               drive.device() + " is not written to (" + *refusal + ")" + advice);
}

std::string shown(const image::Drive& drive) {
  std::string text = drive.device() + ", " + drive_size_text(drive.size_bytes) + ", " +
                     std::string(image::name_of(drive.bus)) + ", " + drive.description();
  if (!drive.serial.empty()) {
    text += ", serial " + base::printable(drive.serial);
  }
  for (const auto& partition : drive.partitions) {
    text += "\n  " + partition.name + ", " + drive_size_text(partition.size_bytes) +
            (partition.label.empty() ? "" : ", \"" + base::printable(partition.label) + "\"");
  }
  return text;
}

Status confirm(const ImageFlashOptions& options, const image::Drive& drive) {
  if (options.yes) {
    return base::ok();
  }
  if (::isatty(STDIN_FILENO) != 1) {
    return Error(ErrorCode::kUsage, "everything on " + drive.device() +
                                        " would be overwritten, and there is no terminal to ask "
                                        "on: pass --yes if that is what you want");
  }
  std::cerr << "This is going to be overwritten with " << options.image.string() << ":\n"
            << shown(drive) << "\nAll data on it will be lost. Type yes to go on: " << std::flush;
  std::string answer;
  if (!std::getline(std::cin, answer) || answer != "yes") {
    return Error(ErrorCode::kCancelled, "nothing was written");
  }
  return base::ok();
}

Status check_size(const image::ImageStream& stream, const image::Drive& drive) {
  if (stream.size_bytes().value_or(0) <= drive.size_bytes) {
    return base::ok();
  }
  return Error(ErrorCode::kDriveRefused,
               drive.device() + " is too small: the image has " +
                   std::to_string(*stream.size_bytes()) + " bytes, the drive " +
                   std::to_string(drive.size_bytes) + "; take a larger one");
}

Outcome done(const ImageFlashOptions& options, const image::Drive& drive,
             const image::ImageStream& stream, const image::WrittenImage& written, double seconds,
             const Console& console) {
  Outcome outcome;
  outcome.json =
      base::to_canonical(base::Json{{"image", options.image.string()},
                                    {"compression", image::name_of(stream.compression())},
                                    {"drive", drive.device()},
                                    {"drive_size_bytes", drive.size_bytes},
                                    {"image_size_bytes", written.size_bytes},
                                    {"written_bytes", written.data_bytes},
                                    {"verified", written.verified},
                                    {"seconds", seconds},
                                    {"warnings", console.warnings()}});
  outcome.text = drive.device() + ": " + size_text(written.size_bytes) + ", " +
                 size_text(written.data_bytes) + " of it data, written" +
                 (written.verified ? " and read back\n" : "; not read back\n") +
                 "The drive is safe to remove. If the desktop has opened it meanwhile, eject it "
                 "there first.\n";
  return outcome;
}

}  // namespace

Result<Outcome> image_flash(const ImageFlashOptions& options, Console& console) {
  OU_TRY(const auto stream, image::open_image_stream(options.image));
  OU_TRY(const image::Drive drive, choose_drive(options));
  OU_CHECK(check_size(*stream, drive));
  OU_TRY(image::BlockTarget target, image::BlockTarget::open(drive.device(), drive.number));
  OU_CHECK(confirm(options, drive));

  const auto started = std::chrono::steady_clock::now();
  const StopSignals signals;
  auto written = image::write_image(
      *stream, target, {.verify = !options.no_verify, .stop = &StopSignals::requested()}, console);
  if (!written) {
    return std::move(written).error().within(
        drive.device() +
        " is incomplete: it has no partition table and does not start a device; "
        "flash it again");
  }
  target.reread_partitions();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  console.finish();
  return done(options, drive, *stream, *written, took.count(), console);
}

}  // namespace tool
