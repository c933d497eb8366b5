#include "host_parts.hpp"

#include <algorithm>

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "connection_files.hpp"
#include "names.hpp"
#include "oci/hostapp_image.hpp"
#include "usage.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::printable;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

std::string allowed_keys() {
  std::string keys;
  for (const std::string_view key : bundle::patchable_config_keys()) {
    keys += (keys.empty() ? "" : ", ") + std::string(key);
  }
  return keys;
}

Result<std::string> read_patch(const fs::path& path) {
  OU_TRY(const base::Bytes bytes, base::read_file(path, bundle::kMaxDocumentBytes));
  auto parsed = base::parse_json(
      base::as_text(bytes),
      {.max_bytes = bundle::kMaxDocumentBytes, .max_depth = bundle::kMaxManifestDepth - 4});
  if (!parsed) {
    return std::move(parsed).error().as(ErrorCode::kUsage);
  }
  const Json& patch = *parsed;
  if (!patch.is_object() || patch.empty()) {
    return usage("--config-patch takes a JSON object with at least one key");
  }
  for (const auto& [key, value] : patch.items()) {
    if (!bundle::is_patchable_config_key(key)) {
      return usage("a bundle may not set " + printable(key, 64) +
                   " of config.json, for identity and endpoints belong to the device; it may set " +
                   allowed_keys());
    }
  }
  return base::to_canonical(patch);
}

struct SupervisorFacts {
  std::string name;
  std::string version;
};

/// What was not given is what the host OS of the disk image says.
Result<SupervisorFacts> complete_from_disk(SupervisorFacts facts, const std::string& source,
                                           ImagePacker& packer, Console& console) {
  if (!facts.name.empty() && !facts.version.empty()) {
    return facts;
  }
  OU_TRY(const image::OsContent* content, packer.disks().open(source, console));
  OU_TRY(const image::FoundHostapp hostapp, content->hostapp());
  OU_TRY(image::FoundSupervisor found, content->supervisor(hostapp));
  if (facts.name.empty()) {
    facts.name = std::move(found.name);
  }
  if (facts.version.empty()) {
    facts.version = std::move(found.version);
  }
  if (!is_repository_name(facts.name) || !is_version(facts.version)) {
    return Error(ErrorCode::kImageInvalid,
                 "its host OS names the supervisor \"" + printable(facts.name) + "\", version \"" +
                     printable(facts.version) +
                     "\": pass --supervisor-name and --supervisor-version");
  }
  console.finish();
  console.note("supervisor " + facts.version + " under the name " + facts.name + ", as " + source +
               " has it");
  return facts;
}

}  // namespace

Status check_host_options(const HostOptions& options) {
  if (options.supervisor_image.empty()) {
    if (!options.supervisor_name.empty() || !options.supervisor_version.empty()) {
      return usage("--supervisor-name and --supervisor-version go with --supervisor-image");
    }
    return base::ok();
  }
  const bool from_disk = DiskImages::is_one(options.supervisor_image);
  if (!from_disk && (options.supervisor_name.empty() || options.supervisor_version.empty())) {
    return usage(
        "--supervisor-image needs --supervisor-name REGISTRY/PATH, under which the host OS looks "
        "for it, and --supervisor-version: an image does not say either");
  }
  if (!options.supervisor_name.empty() && !is_repository_name(options.supervisor_name)) {
    return usage("--supervisor-name takes REGISTRY/PATH without tag and digest, not \"" +
                 printable(options.supervisor_name) + "\"");
  }
  if (!options.supervisor_version.empty() && !is_version(options.supervisor_version)) {
    return usage("--supervisor-version takes a version such as 17.0.1, not \"" +
                 printable(options.supervisor_version) + "\"");
  }
  return base::ok();
}

Result<bundle::ConfigChange> read_config_change(const HostOptions& options) {
  bundle::ConfigChange config;
  if (!options.config_patch.empty()) {
    OU_TRY(config.patch_json,
           read_patch(options.config_patch).within(options.config_patch.string()));
  }
  OU_TRY(config.connections, read_connections(options.connections));
  return config;
}

Result<bundle::HostOs> pack_host_os(const std::string& source, ImagePacker& packer,
                                    bundle::Targets& targets, Console& console) {
  console.phase("opening " + source, 0);
  auto opened = packer.open(source, {ImageRole::Kind::kHostOs, ""}, console);
  if (!opened) {
    Error error = std::move(opened).error();
    if (error.code() != ErrorCode::kImageInvalid || DiskImages::is_one(source)) {
      return error;
    }
    return std::move(error)
        .as(ErrorCode::kOsImageInvalid)
        .within(
            "this is no image of a container engine (a disk image, as the dashboard gives, is "
            "named image:FILE)");
  }
  console.phase("looking into the host OS", 0);
  OU_TRY(oci::HostappImage hostapp, oci::read_hostapp_image(**opened, console).within(source));
  if (!is_version(hostapp.version) || !is_version(hostapp.meta_version) ||
      !is_device_type(hostapp.device_type)) {
    return Error(ErrorCode::kOsImageInvalid,
                 source + ": os-release has the version \"" + printable(hostapp.version, 64) +
                     "\" (meta-balena \"" + printable(hostapp.meta_version, 64) +
                     "\") and the device type \"" + printable(hostapp.device_type, 64) +
                     "\", which balenaOS would not have");
  }
  if (targets.device_types.empty()) {
    targets.device_types = {hostapp.device_type};
  } else if (targets.device_types != std::vector{hostapp.device_type}) {
    return Error(ErrorCode::kWrongDeviceType,
                 "the host OS is for " + hostapp.device_type +
                     " and nothing else: --device-type must be that, or be left out");
  }
  OU_TRY(const PackedImage packed, packer.pack_opened("host OS", source, **opened, console));
  return bundle::HostOs{packed.image.id,
                        std::move(hostapp.version),
                        std::move(hostapp.meta_version),
                        std::move(hostapp.device_type),
                        std::move(hostapp.boot_files),
                        hostapp.boot_volume_bytes,
                        hostapp.signed_for_secure_boot};
}

Result<bundle::SupervisorImage> pack_supervisor(const HostOptions& options, ImagePacker& packer,
                                                Console& console) {
  const std::string& source = options.supervisor_image;
  SupervisorFacts facts{options.supervisor_name, options.supervisor_version};
  if (DiskImages::is_one(source)) {
    console.phase("opening " + source, 0);
    OU_TRY(facts, complete_from_disk(std::move(facts), source, packer, console).within(source));
  }
  OU_TRY(const PackedImage packed,
         packer.pack("supervisor", source, {ImageRole::Kind::kSupervisor, ""}, console)
             .within("supervisor"));
  return bundle::SupervisorImage{packed.image.id, std::move(facts.name), std::move(facts.version)};
}

Status check_architectures(const bundle::HostOs& os, const bundle::Manifest& manifest) {
  const bundle::Image* host = manifest.find_image(os.image);
  for (const bundle::Image& image : manifest.images) {
    if (host != nullptr && image.architecture != host->architecture) {
      std::string what = "the image " + image.id.text();
      for (const bundle::Service& service : manifest.release.services) {
        what = service.image == image.id ? "the image of service " + service.name : what;
      }
      if (manifest.supervisor && manifest.supervisor->image == image.id) {
        what = "the supervisor";
      }
      return Error(ErrorCode::kArchitecture, what + " is for " + printable(image.architecture, 64) +
                                                 ", and the host OS is for " +
                                                 printable(host->architecture, 64));
    }
  }
  return base::ok();
}

}  // namespace tool
