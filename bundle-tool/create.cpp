#include "create.hpp"

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <set>

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle/limits.hpp"
#include "compose.hpp"
#include "image_packer.hpp"
#include "names.hpp"
#include "output_directory.hpp"
#include "release_builder.hpp"
#include "signing_keys.hpp"
#include "target_state.hpp"
#include "yaml_json.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

constexpr std::string_view kOciLayout = R"({"imageLayoutVersion":"1.0.0"})";

Error usage(const std::string& what) {
  return {ErrorCode::kUsage, what};
}

/// A directory for sources that have to keep something; gone with this object.
class Scratch {
 public:
  /// Inside the unfinished bundle, so that the next run clears it if this one is killed.
  static Result<Scratch> make(const fs::path& unfinished) {
    std::string path = (unfinished / "scratch-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) {
      return Error::from_errno(errno, "create a directory in " + unfinished.string());
    }
    return Scratch(path);
  }
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (!path_.empty()) {
      std::error_code ignored;  // what is left says by its name what it is
      fs::remove_all(path_, ignored);
    }
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  explicit Scratch(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

Result<ReleaseDraft> read_draft(const CreateOptions& options) {
  const bool compose = !options.compose.empty();
  const fs::path& path = compose ? options.compose : options.target_state;
  OU_TRY(
      const base::Bytes bytes,
      base::read_file(path, compose ? kMaxYamlBytes : kMaxTargetStateBytes).within(path.string()));
  const std::string_view text = base::as_text(bytes);
  return (compose ? parse_compose(text) : parse_target_state(text, options.targets.fleet_uuid))
      .within(path.string());
}

Result<std::map<std::string, std::string>> parse_images(const std::vector<std::string>& images) {
  std::map<std::string, std::string> sources;
  for (const std::string& image : images) {
    const std::size_t equals = image.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == image.size()) {
      return usage("--image takes SERVICE=SOURCE, such as main=docker-archive:main.tar; not \"" +
                   base::printable(image) + "\"");
    }
    if (!sources.emplace(image.substr(0, equals), image.substr(equals + 1)).second) {
      return usage("--image names " + base::printable(image.substr(0, equals)) + " twice");
    }
  }
  return sources;
}

Status check_version(const std::optional<std::string>& version, const std::string& option) {
  if (version && !is_version(*version)) {
    return usage(option + " takes a version such as 5.0.0, not \"" + base::printable(*version) +
                 "\"");
  }
  return base::ok();
}

/// The targets as the manifest has them: sorted, without repetitions.
Result<bundle::Targets> resolve_targets(const CreateOptions& options, const ReleaseDraft& draft) {
  bundle::Targets targets = options.targets;
  if (targets.fleet_uuid.empty()) {
    targets.fleet_uuid = draft.fleet_uuid;
  }
  if (!is_fleet_uuid(targets.fleet_uuid)) {
    return usage(
        "--fleet-uuid takes the fleet's UUID, 32 lower-case hexadecimal digits (balena "
        "fleet NAME shows it), not \"" +
        base::printable(targets.fleet_uuid) + "\"");
  }
  std::set<std::string> types(targets.device_types.begin(), targets.device_types.end());
  if (types.empty()) {
    return usage("--device-type is missing: name each device type that the images run on");
  }
  for (const std::string& type : types) {
    if (!is_device_type(type)) {
      return usage("--device-type takes a slug such as raspberrypi4-64, not \"" +
                   base::printable(type) + "\"");
    }
  }
  std::set<std::string> uuids(targets.device_uuids.begin(), targets.device_uuids.end());
  if (!options.device_list.empty()) {
    OU_TRY(const base::Bytes bytes,
           base::read_file(options.device_list, bundle::kMaxDeviceUuids * 80)
               .within(options.device_list.string()));
    std::string_view rest = base::as_text(bytes);
    while (!rest.empty()) {
      std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      line = line.substr(0, line.find_first_of("#\r"));
      const std::size_t first = line.find_first_not_of(" \t");
      if (first != std::string_view::npos) {
        uuids.emplace(line.substr(first, line.find_last_not_of(" \t") + 1 - first));
      }
    }
    if (uuids.empty()) {
      return usage(options.device_list.string() +
                   " lists no device; leave out --device-list for the whole fleet");
    }
  }
  for (const std::string& uuid : uuids) {
    if (!is_device_uuid(uuid)) {
      return usage("\"" + base::printable(uuid) +
                   "\" is no device UUID: 32 (or 62) lower-case hexadecimal digits, whole");
    }
  }
  OU_CHECK(check_version(targets.os_version.minimum, "--min-os"));
  OU_CHECK(check_version(targets.os_version.maximum, "--max-os"));
  OU_CHECK(check_version(targets.supervisor_version.minimum, "--min-supervisor"));
  OU_CHECK(check_version(targets.supervisor_version.maximum, "--max-supervisor"));
  targets.device_types.assign(types.begin(), types.end());
  targets.device_uuids.assign(uuids.begin(), uuids.end());
  return targets;
}

/// \source reproducible-builds.org, SOURCE_DATE_EPOCH specification
Result<std::uint64_t> creation_time() {
  const char* epoch = std::getenv("SOURCE_DATE_EPOCH");
  if (epoch == nullptr) {
    return static_cast<std::uint64_t>(std::time(nullptr));
  }
  const std::string text = epoch;
  if (text.empty() || text.size() > 12 ||
      text.find_first_not_of("0123456789") != std::string::npos) {
    return usage("SOURCE_DATE_EPOCH must be a number of seconds, not \"" + base::printable(text) +
                 "\"");
  }
  return static_cast<std::uint64_t>(std::stoull(text));
}

Status check_options(const CreateOptions& options) {
  if (!options.commit.empty() && !is_commit(options.commit)) {
    return usage("--commit takes 32 or 40 lower-case hexadecimal digits");
  }
  if (options.registry_name.empty() || options.registry_name.size() > 100 ||
      options.registry_name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-:") !=
          std::string::npos ||
      options.registry_name.find('.') == std::string::npos) {
    return usage("--registry-name takes a host name with a dot in it");
  }
  if (options.packing.chunk_bytes < bundle::kMinChunkBytes ||
      options.packing.chunk_bytes > bundle::kMaxChunkBytes) {
    return usage("--chunk-size must be between 64 KiB and 4 MiB");
  }
  if (options.sign_keys.size() > bundle::kMaxSignatures) {
    return usage("a bundle holds at most " + std::to_string(bundle::kMaxSignatures) +
                 " signatures; give fewer --sign-key");
  }
  return base::ok();
}

void warn_about(const ReleaseDraft& draft, Console& console) {
  for (const std::string& warning : draft.warnings) {
    console.warning(warning);
  }
}

void warn_about_platforms(const ImagePacker& packer, Console& console) {
  std::set<std::string> platforms;
  for (const auto& [id, packed] : packer.images()) {
    const bundle::Image& image = packed.image;
    platforms.insert(image.os + "/" + image.architecture);
  }
  if (platforms.size() > 1) {
    std::string list;
    for (const std::string& platform : platforms) {
      list += (list.empty() ? "" : ", ") + base::printable(platform);
    }
    console.warning("the images are for different platforms: " + list);
  }
}

/// Everything but signatures and id.
Result<bundle::Manifest> pack_release(const CreateOptions& options, const ReleaseDraft& draft,
                                      const std::map<std::string, std::string>& sources,
                                      const bundle::Targets& targets, const fs::path& directory,
                                      Console& console) {
  const fs::path blobs = directory / "blobs" / "sha256";
  std::error_code failure;
  fs::create_directories(blobs, failure);
  if (failure) {
    return Error::from_errno(failure.value(), "create " + blobs.string());
  }
  OU_TRY(const Scratch scratch, Scratch::make(directory));
  ImagePacker packer(blobs, scratch.path(), options.packing, options.platform);
  std::map<std::string, PackedImage> images;
  for (const ServiceDraft& service : draft.services) {
    OU_TRY(PackedImage packed, packer.pack(service.name, sources.at(service.name), console)
                                   .within("service " + service.name));
    images.emplace(service.name, std::move(packed));
  }
  console.finish();
  warn_about_platforms(packer, console);

  bundle::Manifest manifest;
  manifest.name = !options.name.empty() ? options.name : options.output.stem().string();
  OU_TRY(manifest.created_at, creation_time());
  manifest.sequence = options.sequence;
  manifest.targets = targets;
  manifest.policy = options.policy;
  OU_TRY(manifest.release,
         build_release(draft, images, targets.fleet_uuid, options.commit, options.registry_name));
  if (!options.app_name.empty()) {
    manifest.release.app_name = options.app_name;
  } else if (manifest.release.app_name.empty()) {
    manifest.release.app_name = manifest.name;
  }
  for (const auto& [id, packed] : packer.images()) {
    manifest.images.push_back(packed.image);
  }
  manifest.blobs = packer.blobs();
  const std::string index = index_json(manifest.release, packer.images(), packer.blobs());
  OU_CHECK(base::write_file_durably(directory / "index.json", base::as_bytes(index), 0644));
  OU_CHECK(base::write_file_durably(directory / "oci-layout", base::as_bytes(kOciLayout), 0644));
  manifest.files.emplace("index.json", oci::Digest::of(base::as_bytes(index)));
  manifest.files.emplace("oci-layout", oci::Digest::of(base::as_bytes(kOciLayout)));
  manifest.bundle_id = make_bundle_id(manifest);
  return manifest;
}

Status write_manifest(const bundle::Manifest& manifest, const std::string& text,
                      const std::vector<bundle::SecretKey>& keys, const fs::path& directory) {
  const fs::path path = directory / bundle::kManifestName;
  OU_CHECK(base::write_file_durably(path, base::as_bytes(text), 0644));
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string signature = keys[i].sign(base::as_bytes(text), signature_comment(manifest));
    OU_CHECK(base::write_file_durably(directory / bundle::signature_file_name(i),
                                      base::as_bytes(signature), 0644));
  }
  return base::ok();
}

Outcome describe(const CreateOptions& options, const bundle::Manifest& manifest,
                 const std::string& text, const std::vector<bundle::SecretKey>& keys,
                 const Console& console) {
  std::uint64_t stored = text.size();
  for (const auto& [digest, blob] : manifest.blobs) {
    stored += blob.size_bytes;
  }
  base::Json signers = base::Json::array();
  std::string signed_by;
  for (const bundle::SecretKey& key : keys) {
    const std::string id = bundle::to_text(key.public_key().id);
    signers.push_back(id);
    signed_by += (signed_by.empty() ? "" : ", ") + id;
  }
  const base::Json json = {{"output", options.output.string()},
                           {"bundle_id", manifest.bundle_id},
                           {"name", manifest.name},
                           {"sequence", manifest.sequence},
                           {"commit", manifest.release.commit},
                           {"manifest_digest", oci::Digest::of(base::as_bytes(text)).text()},
                           {"size_bytes", stored},
                           {"services", manifest.release.services.size()},
                           {"signers", std::move(signers)},
                           {"warnings", console.warnings()}};
  Outcome outcome;
  outcome.json = base::to_canonical(json);
  outcome.text = options.output.string() + ": release " + manifest.release.commit + ", sequence " +
                 std::to_string(manifest.sequence) + ", " + size_text(stored) + "\n" +
                 (keys.empty() ? "not signed: add signatures with bundle-tool sign\n"
                               : "signed by " + signed_by + "\n");
  return outcome;
}

}  // namespace

Result<Outcome> create(const CreateOptions& options, Console& console) {
  OU_CHECK(check_bundle_name(options.output));
  OU_CHECK(check_options(options));
  OU_TRY(const ReleaseDraft draft, read_draft(options));
  warn_about(draft, console);
  OU_TRY(const bundle::Targets targets, resolve_targets(options, draft));
  OU_TRY(const auto sources, parse_images(options.images));
  OU_CHECK(check_images(draft, sources));
  OU_TRY(const auto keys, load_secret_keys(options.sign_keys, options.password_file));

  OU_TRY(OutputDirectory output,
         OutputDirectory::open(options.output, options.force, OutputDirectory::Leftover::kDiscard));
  OU_TRY(const bundle::Manifest manifest,
         pack_release(options, draft, sources, targets, output.path(), console));
  const std::string text = bundle::to_json(manifest);
  // The device reads manifests with this very function: what it would refuse is not written.
  if (auto parsed = bundle::parse_manifest(text); !parsed) {
    return std::move(parsed).error().as(ErrorCode::kUsage).within("this bundle cannot be made");
  }
  OU_CHECK(write_manifest(manifest, text, keys, output.path()));
  console.phase("writing to the disk", 0);
  OU_CHECK(output.commit());
  console.finish();
  return describe(options, manifest, text, keys, console);
}

}  // namespace tool
