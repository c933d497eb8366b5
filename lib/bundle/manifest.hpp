// What a bundle says of itself: the content of manifest.json. docs/bundle-format.md is normative.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "oci/decoder.hpp"
#include "oci/digest.hpp"

namespace bundle {

inline constexpr std::uint64_t kFormatVersion = 1;    // a release, and nothing else
inline constexpr std::uint64_t kOsFormatVersion = 2;  // may also have os, supervisor, config

/// How a stored blob is cut into pieces that are verified one by one.
struct ChunkTable {
  enum class Kind {
    kFixed,   // size_bytes of the stored file each, the last one shorter
    kFrames,  // each chunk is one zstd frame that holds size_bytes of the uncompressed data, the
              // last one less: any uncompressed offset can be reached by reading one chunk
  };
  Kind kind = Kind::kFixed;
  std::uint32_t size_bytes = 0;
  std::vector<std::uint32_t> lengths;    // kFrames only: stored bytes of each chunk
  std::vector<base::Sha256Hash> hashes;  // SHA-256 of the stored bytes of each chunk
};

struct Blob {
  oci::Digest digest;  // of the stored bytes; the file is blobs/sha256/<hex>
  std::uint64_t size_bytes;
  oci::Encoding encoding;
  oci::Digest uncompressed_digest;
  std::uint64_t uncompressed_size_bytes;
  ChunkTable chunks;
};

struct Layer {
  oci::Digest diff_id;
  oci::Digest blob;
  std::uint64_t installed_bytes;  // 4 KiB blocks on the device, see oci::LayerUsage
  std::uint64_t installed_inodes;
};

struct Image {
  oci::Digest id;        // digest of the configuration blob
  oci::Digest manifest;  // OCI manifest in this bundle, as index.json lists it
  std::string architecture;
  std::string os;
  std::string variant;
  std::vector<Layer> layers;  // bottom first
};

/// One service of the release, in the shape of the supervisor's v3 target state. JSON texts are
/// canonical (sorted keys, no white space).
struct Service {
  std::string name;
  oci::Digest image;            // Image::id
  std::string image_reference;  // the name under which the supervisor will look for it, with digest
  std::optional<std::uint64_t> id;
  std::optional<std::uint64_t> image_id;
  bool running = true;
  std::map<std::string, std::string> environment;
  std::map<std::string, std::string> labels;
  std::string composition_json;              // object
  std::optional<std::string> contract_json;  // object
};

struct Release {
  std::string commit;  // 32 or 40 lower-case hexadecimal digits; empty: the bundle has no release
  std::optional<std::uint64_t> id;
  std::optional<std::uint64_t> app_id;
  std::string app_name;
  std::vector<Service> services;  // by name
  std::string volumes_json;       // object: volume name to its definition
  std::string networks_json;
};

/// A host OS: a hostapp image, and what the device has to know of it before it wipes a slot.
/// \source balenaos.md sections 1, 2, 5, 17
struct HostOs {
  oci::Digest image = oci::Digest::of({});          // Image::id
  std::string version;                              // VERSION of its os-release: "6.6.0+rev1"
  std::string meta_version;                         // META_BALENA_VERSION, else VERSION
  std::string device_type;                          // SLUG: the one type that this OS is for
  std::map<std::string, std::uint64_t> boot_files;  // below /resin-boot: path to size in bytes
  std::uint64_t boot_volume_bytes = 0;  // of /boot, which is copied into a volume: 4 KiB blocks
  bool signed_for_secure_boot = false;  // has EFI/BOOT/grub-luks.cfg.sig
};

struct SupervisorImage {
  oci::Digest image = oci::Digest::of({});  // Image::id
  std::string name;     // under which the OS looks for it, without tag: "registry.example/v2/0af3"
  std::string version;  // "17.0.1"
};

/// What changes in config.json, and files for system-connections/.
struct ConfigChange {
  std::string patch_json = "{}";                   // object: allowed key to its new value
  std::map<std::string, std::string> connections;  // file name to content

  [[nodiscard]] bool empty() const { return patch_json == "{}" && connections.empty(); }
};

/// The keys of config.json that a bundle may set, sorted.
std::span<const std::string_view> patchable_config_keys();
/// Whether a bundle may set this key of config.json. Identity and endpoints never are.
/// \source balenaos.md section 9
bool is_patchable_config_key(std::string_view key);

struct VersionRange {
  std::optional<std::string> minimum;  // inclusive
  std::optional<std::string> maximum;  // inclusive
};

struct Targets {
  std::string fleet_uuid;
  std::vector<std::string> device_types;
  std::vector<std::string> device_uuids;  // empty: every device of the fleet
  VersionRange os_version;
  VersionRange supervisor_version;
};

enum class HealthCriterion {
  kRunning,  // every service runs its new image and is not restarting
  kHealthy,  // as kRunning, and every service with a health check reports healthy
};

struct Policy {
  bool override_update_lock = false;
  std::uint32_t confirm_seconds = 60;  // how long the criterion must hold without a break
  HealthCriterion health = HealthCriterion::kHealthy;
  bool pin = true;  // pin the device to this release, so that a later connection keeps it
  bool allow_os_downgrade = false;
  bool stage = false;  // copy to the device first, so that the medium can go on
};

struct Manifest {
  std::string bundle_id;  // UUID
  std::string name;
  std::uint64_t created_at;  // seconds since 1970 UTC
  std::uint64_t sequence;    // of the fleet; a device takes none below the highest it confirmed
  Targets targets;
  Policy policy;
  Release release;
  std::optional<HostOs> os;
  std::optional<SupervisorImage> supervisor;
  ConfigChange config;
  std::vector<Image> images;                 // by id
  std::map<oci::Digest, Blob> blobs;         // every file below blobs/
  std::map<std::string, oci::Digest> files;  // "index.json", "oci-layout": SHA-256 of each

  [[nodiscard]] const Image* find_image(const oci::Digest& id) const;
  [[nodiscard]] bool has_release() const { return !release.commit.empty(); }
  /// The lowest format that can say all this: what it is written in.
  [[nodiscard]] std::uint64_t format() const;
};

/// Reads manifest.json. Only bytes whose signature holds may come here.
/// Unknown fields, missing blobs, unused blobs and every limit of limits.hpp are errors.
/// \error ErrorCode::kManifestSyntax, kManifestField, kManifestVersion, kChunkTable,
/// kLimitExceeded,
///   kManifestTooLarge
base::Result<Manifest> parse_manifest(std::string_view json);

/// Canonical JSON: the same manifest gives the same bytes. parse_manifest(to_json(m)) equals m.
std::string to_json(const Manifest& manifest);

/// Number of chunks that a table for `blob` has to have.
std::size_t chunk_count(const Blob& blob);
/// Where chunk `index` lies in the stored file. \pre index < chunk_count(blob)
struct ChunkExtent {
  std::uint64_t offset;
  std::uint32_t length;
};
/// All extents of a blob, in order.
std::vector<ChunkExtent> chunk_extents(const Blob& blob);

}  // namespace bundle
