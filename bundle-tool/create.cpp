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
#include "bundle_files.hpp"
#include "compose.hpp"
#include "create_targets.hpp"
#include "host_parts.hpp"
#include "image_packer.hpp"
#include "names.hpp"
#include "output_directory.hpp"
#include "release_builder.hpp"
#include "signing_keys.hpp"
#include "target_state.hpp"
#include "usage.hpp"
#include "yaml_json.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

constexpr std::string_view kOciLayout = R"({"imageLayoutVersion":"1.0.0"})";

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

/// Without a release: a draft that has nothing.
Result<ReleaseDraft> read_draft(const CreateOptions& options) {
  if (!options.has_release()) {
    return ReleaseDraft{};
  }
  const bool compose = !options.compose.empty();
  const fs::path& path = compose ? options.compose : options.target_state;
  OU_TRY(
      const base::Bytes bytes,
      base::read_file(path, compose ? kMaxYamlBytes : kMaxTargetStateBytes).within(path.string()));
  const std::string_view text = base::as_text(bytes);
  return (compose ? parse_compose(text) : parse_target_state(text, options.targets.fleet_uuid))
      .within(path.string());
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
  if (draft.config_json != "{}") {
    console.warning("config is left out: a device keeps its own configuration variables");
  }
  if (draft.pin) {
    console.warning("pinDevice is left out: bundle-tool's --no-pin decides");
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

/// The release and its images; an empty one without services.
Result<bundle::Release> pack_release(const CreateOptions& options, const ReleaseDraft& draft,
                                     const std::map<std::string, std::string>& sources,
                                     const bundle::Manifest& manifest, ImagePacker& packer,
                                     Console& console) {
  if (draft.services.empty()) {
    return bundle::Release{};
  }
  std::map<std::string, PackedImage> images;
  for (const ServiceDraft& service : draft.services) {
    OU_TRY(PackedImage packed, packer
                                   .pack(service.name, sources.at(service.name),
                                         {ImageRole::Kind::kService, service.name}, console)
                                   .within("service " + service.name));
    images.emplace(service.name, std::move(packed));
  }
  OU_TRY(bundle::Release release, build_release(draft, images, manifest.targets.fleet_uuid,
                                                options.commit, options.registry_name));
  if (!options.app_name.empty()) {
    release.app_name = options.app_name;
  } else if (release.app_name.empty()) {
    release.app_name = manifest.name;
  }
  return release;
}

/// Everything that is installed. The host OS comes first: most that can be wrong is wrong there.
Status pack_payload(const CreateOptions& options, const ReleaseDraft& draft,
                    const std::map<std::string, std::string>& sources, ImagePacker& packer,
                    bundle::Manifest& manifest, Console& console) {
  if (!options.host.os_image.empty()) {
    OU_TRY(
        manifest.os,
        pack_host_os(options.host.os_image, packer, manifest.targets, console).within("host OS"));
  }
  if (!options.host.supervisor_image.empty()) {
    OU_TRY(manifest.supervisor, pack_supervisor(options.host, packer, console));
  }
  OU_TRY(manifest.release, pack_release(options, draft, sources, manifest, packer, console));
  console.finish();
  for (const auto& [id, packed] : packer.images()) {
    manifest.images.push_back(packed.image);
  }
  manifest.blobs = packer.blobs();
  if (manifest.os) {
    return check_architectures(*manifest.os, manifest);
  }
  warn_about_platforms(packer, console);
  return base::ok();
}

/// Everything but signatures.
Result<bundle::Manifest> build_manifest(const CreateOptions& options, const ReleaseDraft& draft,
                                        const std::map<std::string, std::string>& sources,
                                        const bundle::Targets& targets, bundle::ConfigChange config,
                                        const fs::path& directory, Console& console) {
  const fs::path blobs = directory / "blobs" / "sha256";
  std::error_code failure;
  fs::create_directories(blobs, failure);
  if (failure) {
    return Error::from_errno(failure.value(), "create " + blobs.string());
  }
  bundle::Manifest manifest;
  manifest.name = !options.name.empty() ? options.name : options.output.stem().string();
  OU_TRY(manifest.created_at, creation_time());
  manifest.sequence = options.sequence;
  manifest.targets = targets;
  manifest.policy = options.policy;
  manifest.config = std::move(config);
  OU_TRY(const Scratch scratch, Scratch::make(directory));
  ImagePacker packer(blobs, scratch.path(), options.packing, options.platform);
  OU_CHECK(pack_payload(options, draft, sources, packer, manifest, console));
  const std::string index = index_json(manifest, packer.images(), packer.blobs());
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
  base::Json json = {{"output", options.output.string()},
                     {"bundle_id", manifest.bundle_id},
                     {"name", manifest.name},
                     {"sequence", manifest.sequence},
                     {"commit", manifest.release.commit},
                     {"manifest_digest", oci::Digest::of(base::as_bytes(text)).text()},
                     {"size_bytes", stored},
                     {"services", manifest.release.services.size()},
                     {"signers", std::move(signers)},
                     {"warnings", console.warnings()}};
  if (manifest.os) {
    json["os_version"] = manifest.os->version;
    json["device_type"] = manifest.os->device_type;
  }
  Outcome outcome;
  outcome.json = base::to_canonical(json);
  outcome.text = options.output.string() + ": " + payload_text(manifest) + ", sequence " +
                 std::to_string(manifest.sequence) + ", " + size_text(stored) + "\n" +
                 (keys.empty() ? "not signed: add signatures with bundle-tool sign\n"
                               : "signed by " + signed_by + "\n");
  return outcome;
}

}  // namespace

Result<Outcome> create(const CreateOptions& options, Console& console) {
  OU_CHECK(check_bundle_name(options.output));
  OU_CHECK(check_options(options));
  OU_CHECK(check_host_options(options.host));
  OU_TRY(bundle::ConfigChange config, read_config_change(options.host));
  OU_TRY(const ReleaseDraft draft, read_draft(options));
  warn_about(draft, console);
  OU_TRY(const bundle::Targets targets, resolve_targets(options, draft.fleet_uuid));
  OU_TRY(const auto sources, parse_image_options(options.images));
  OU_CHECK(check_images(draft, sources));
  OU_TRY(const auto keys, load_secret_keys(options.sign_keys, options.password_file));

  OU_TRY(OutputDirectory output,
         OutputDirectory::open(options.output, options.force, OutputDirectory::Leftover::kDiscard));
  OU_TRY(
      const bundle::Manifest manifest,
      build_manifest(options, draft, sources, targets, std::move(config), output.path(), console));
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
