#include "inspect.hpp"

#include <array>
#include <ctime>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle_files.hpp"
#include "console.hpp"
#include "inspect_host.hpp"

namespace tool {
namespace {

using base::Json;
using base::printable;
using base::Result;

struct Sizes {
  std::uint64_t stored = 0;        // on the medium
  std::uint64_t uncompressed = 0;  // tar
  std::uint64_t installed = 0;     // on the device's disk
};

Sizes sizes_of(const bundle::Manifest& manifest, const bundle::Image& image) {
  Sizes sizes;
  for (const bundle::Layer& layer : image.layers) {
    const bundle::Blob& blob = manifest.blobs.at(layer.blob);
    sizes.stored += blob.size_bytes;
    sizes.uncompressed += blob.uncompressed_size_bytes;
    sizes.installed += layer.installed_bytes;
  }
  return sizes;
}

/// Of the whole bundle, shared layers once.
Sizes total_sizes(const bundle::Manifest& manifest) {
  Sizes total;
  for (const auto& [digest, blob] : manifest.blobs) {
    total.stored += blob.size_bytes;
    total.uncompressed += blob.uncompressed_size_bytes;
  }
  std::map<oci::Digest, std::uint64_t> layers;
  for (const bundle::Image& image : manifest.images) {
    for (const bundle::Layer& layer : image.layers) {
      layers.emplace(layer.diff_id, layer.installed_bytes);
    }
  }
  for (const auto& [diff_id, bytes] : layers) {
    total.installed += bytes;
  }
  return total;
}

std::string time_text(std::uint64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  std::array<char, 40> text{};
  if (::gmtime_r(&time, &parts) == nullptr ||
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts) == 0) {
    return std::to_string(seconds) + " s since 1970";
  }
  return text.data();
}

std::string range_text(const bundle::VersionRange& range) {
  if (!range.minimum && !range.maximum) {
    return "any";
  }
  return (range.minimum ? "from " + printable(*range.minimum) : std::string()) +
         (range.minimum && range.maximum ? " " : "") +
         (range.maximum ? "up to " + printable(*range.maximum) : std::string());
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += text.empty() ? "" : ", ";
    text += printable(word);
  }
  return text;
}

std::string policy_text(const bundle::Policy& policy) {
  const std::string seconds = std::to_string(policy.confirm_seconds);
  std::string text =
      policy.health == bundle::HealthCriterion::kHealthy
          ? "kept once every service has run, and been healthy where it has a "
            "health check, for " +
                seconds + " s; otherwise the device goes back"
          : "kept once every service has run for " + seconds + " s; otherwise the device goes back";
  text += policy.override_update_lock ? "\n             update locks are overridden"
                                      : "\n             update locks are respected";
  text += policy.pin
              ? "\n             the device stays pinned to this release, if the cloud knows it"
              : "\n             a later connection may bring the fleet's own release";
  if (policy.allow_os_downgrade) {
    text += "\n             an older host OS than the one that runs is installed too";
  }
  if (policy.stage) {
    text += "\n             everything is copied to the device first; the medium can then go on";
  }
  return text;
}

struct Signer {
  std::string file;
  std::string key_id;  // empty: not readable
  bool verified = false;
};

std::vector<Signer> list_signers(const std::vector<SignatureFile>& files,
                                 const std::vector<bundle::TrustedKey>& verified) {
  std::vector<Signer> signers;
  for (const SignatureFile& file : files) {
    Signer signer{file.name, "", false};
    if (file.signature) {
      signer.key_id = bundle::to_text(file.signature->key_id);
      for (const bundle::TrustedKey& key : verified) {
        signer.verified = signer.verified || key.key.id == file.signature->key_id;
      }
    }
    signers.push_back(std::move(signer));
  }
  return signers;
}

std::string signature_text(const std::vector<Signer>& signers, bool with_trust) {
  if (signers.empty()) {
    return "none: no device takes this bundle before it is signed";
  }
  std::string text =
      with_trust ? "verified" : "present, NOT VERIFIED (pass --trust to verify them)";
  for (const Signer& signer : signers) {
    text += "\n             " + signer.file + ": " +
            (signer.key_id.empty() ? "not readable" : "key " + signer.key_id);
    if (with_trust) {
      text += signer.verified ? ", trusted" : ", not among the trusted keys";
    }
  }
  return text;
}

// Of one value: whoever signs has to see all that matters, and a terminal has an end.
constexpr std::size_t kMaxShown = 2000;

std::string human(const InspectOptions& options, const bundle::Manifest& manifest,
                  const std::vector<Signer>& signers) {
  const Sizes total = total_sizes(manifest);
  const bundle::Targets& targets = manifest.targets;
  std::string text;
  const auto line = [&](const std::string& label, const std::string& value) {
    text += label + std::string(13 - label.size(), ' ') + value + "\n";
  };
  line("bundle", printable(options.bundle.string()));
  line("name", printable(manifest.name));
  line("id", printable(manifest.bundle_id));
  line("created", time_text(manifest.created_at));
  line("sequence", std::to_string(manifest.sequence));
  line("signatures", signature_text(signers, !options.trust.empty()));
  line("fleet", printable(targets.fleet_uuid) +
                    (manifest.has_release() ? " (" + printable(manifest.release.app_name) + ")"
                                            : std::string()));
  line("device types", joined(targets.device_types));
  line("devices", targets.device_uuids.empty()
                      ? "all of the fleet"
                      : std::to_string(targets.device_uuids.size()) + ": " +
                            printable(joined(targets.device_uuids)));
  line("OS", range_text(targets.os_version));
  line("supervisor", range_text(targets.supervisor_version));
  line("policy", policy_text(manifest.policy));
  if (manifest.has_release()) {
    line("release", printable(manifest.release.commit));
  }
  for (const auto& [label, value] : host_lines(manifest)) {
    line(label, value);
  }
  line("size", size_text(total.stored) + " on the medium, " + size_text(total.uncompressed) +
                   " uncompressed, " + size_text(total.installed) + " installed");
  for (const bundle::Service& service : manifest.release.services) {
    const bundle::Image* image = manifest.find_image(service.image);
    text +=
        "\nservice " + printable(service.name) + (service.running ? "" : " (not started)") + "\n";
    line("  image", printable(service.image_reference, 300));
    line("  image ID", service.image.text());
    if (image != nullptr) {
      const Sizes sizes = sizes_of(manifest, *image);
      line("  platform", printable(image->os + "/" + image->architecture +
                                   (image->variant.empty() ? "" : "/" + image->variant)));
      line("  size", size_text(sizes.stored) + " on the medium, " + size_text(sizes.uncompressed) +
                         " uncompressed, " + size_text(sizes.installed) + " installed, " +
                         std::to_string(image->layers.size()) + " layers");
    }
    for (const auto& [name, value] : service.environment) {
      line("  variable", printable(name + "=" + value, kMaxShown));
    }
    for (const auto& [name, value] : service.labels) {
      line("  label", printable(name + "=" + value, kMaxShown));
    }
    if (service.composition_json != "{}") {
      line("  as", printable(service.composition_json, kMaxShown));
    }
  }
  if (!manifest.has_release()) {
    return text;
  }
  text += "\n";
  line("volumes", printable(manifest.release.volumes_json, kMaxShown));
  line("networks", printable(manifest.release.networks_json, kMaxShown));
  return text;
}

Json optional_json(const std::optional<std::string>& text) {
  return text ? Json(*text) : Json(nullptr);
}

Json range_json(const bundle::VersionRange& range) {
  return {{"minimum", optional_json(range.minimum)}, {"maximum", optional_json(range.maximum)}};
}

Json services_json(const bundle::Manifest& manifest) {
  Json services = Json::object();
  for (const bundle::Service& service : manifest.release.services) {
    Json entry = {
        {"image", service.image_reference}, {"image_id", service.image.text()},
        {"running", service.running},       {"environment", service.environment},
        {"labels", service.labels},         {"composition", Json::parse(service.composition_json)}};
    if (const bundle::Image* image = manifest.find_image(service.image)) {
      const Sizes sizes = sizes_of(manifest, *image);
      entry["architecture"] = image->architecture;
      entry["os"] = image->os;
      entry["variant"] = image->variant;
      entry["layers"] = image->layers.size();
      entry["size_bytes"] = sizes.stored;
      entry["uncompressed_bytes"] = sizes.uncompressed;
      entry["installed_bytes"] = sizes.installed;
    }
    services[service.name] = std::move(entry);
  }
  return services;
}

/// null without a release.
Json release_text(const bundle::Manifest& manifest, const std::string& text) {
  return manifest.has_release() ? Json(text) : Json(nullptr);
}

/// A release that is not there has no volumes and networks either.
Json document(const std::string& text) {
  return text.empty() ? Json::object() : Json::parse(text);
}

std::string machine(const InspectOptions& options, const bundle::Manifest& manifest,
                    const oci::Digest& digest, const std::vector<Signer>& signers) {
  const Sizes total = total_sizes(manifest);
  Json signatures = Json::array();
  for (const Signer& signer : signers) {
    signatures.push_back(
        {{"file", signer.file}, {"key_id", signer.key_id}, {"verified", signer.verified}});
  }
  const bundle::Policy& policy = manifest.policy;
  Json json = {
      {"bundle", options.bundle.string()},
      {"bundle_id", manifest.bundle_id},
      {"name", manifest.name},
      {"created_at", manifest.created_at},
      {"sequence", manifest.sequence},
      {"manifest_digest", digest.text()},
      {"signatures_verified", !options.trust.empty()},
      {"signatures", std::move(signatures)},
      {"fleet_uuid", manifest.targets.fleet_uuid},
      {"app_name", release_text(manifest, manifest.release.app_name)},
      {"device_types", manifest.targets.device_types},
      {"device_uuids", manifest.targets.device_uuids},
      {"os_version", range_json(manifest.targets.os_version)},
      {"supervisor_version", range_json(manifest.targets.supervisor_version)},
      {"policy",
       {{"override_update_lock", policy.override_update_lock},
        {"confirm_seconds", policy.confirm_seconds},
        {"health", policy.health == bundle::HealthCriterion::kHealthy ? "healthy" : "running"},
        {"pin", policy.pin},
        {"allow_os_downgrade", policy.allow_os_downgrade},
        {"stage", policy.stage}}},
      {"commit", release_text(manifest, manifest.release.commit)},
      {"size_bytes", total.stored},
      {"uncompressed_bytes", total.uncompressed},
      {"installed_bytes", total.installed},
      {"services", services_json(manifest)},
      {"volumes", document(manifest.release.volumes_json)},
      {"networks", document(manifest.release.networks_json)}};
  json.update(Json::parse(host_json(manifest)));
  return base::to_canonical(json);
}

}  // namespace

Result<Outcome> inspect(const InspectOptions& options) {
  const std::string shown = options.bundle.string();
  OU_TRY(const auto directory, open_bundle(options.bundle));
  OU_TRY(const auto files, read_signature_files(directory).within(shown));
  if (!options.trust.empty()) {
    OU_TRY(const bundle::Trust trust, load_trust(options.trust));
    OU_TRY(const auto authentic, bundle::open_manifest(directory, trust).within(shown));
    const auto signers = list_signers(files, authentic.signers());
    return Outcome{ExitCode::kOk, human(options, authentic.manifest(), signers),
                   machine(options, authentic.manifest(), authentic.digest(), signers)};
  }
  OU_TRY(const UnverifiedManifest manifest, read_unverified_manifest(directory).within(shown));
  const auto signers = list_signers(files, {});
  return Outcome{ExitCode::kOk, human(options, manifest.manifest, signers),
                 machine(options, manifest.manifest, manifest.digest, signers)};
}

}  // namespace tool
