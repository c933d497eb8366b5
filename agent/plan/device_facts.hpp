// Everything about a device that a plan depends on.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "oci/digest.hpp"

namespace agent::plan {

/// The host OS, its slots and its boot partition.
struct OsFacts {
  std::string version;           // VERSION
  std::string meta_version;      // META_BALENA_VERSION, else VERSION
  std::string device_type;       // SLUG; empty: not said
  std::uint64_t slot_bytes = 0;  // that the inactive slot holds when it is empty
  std::uint64_t slot_inodes = 0;
  std::uint64_t boot_free_bytes = 0;
  std::uint64_t boot_block_bytes = 0;
  std::map<std::string, std::uint64_t> boot_files;  // path on the boot partition to size in bytes
  std::vector<std::string> missing_tools;           // that an update of the OS relies on
  bool secure_boot = false;
  bool old_storage = false;  // the running slot uses aufs
  bool one_slot = false;     // the slot to be emptied is the one that runs
  bool other_disk = false;   // it is on another disk than the one that runs
};

/// What keeps boot files and settings from being changed, whatever the OS.
struct OsState {
  bool unconfirmed = false;   // the last update of the OS is not settled
  bool other_update = false;  // somebody holds balenaHUP's lock
};

struct DeviceFacts {
  std::string device_uuid;
  std::string device_type;  // slug
  std::string fleet_uuid;
  std::string architecture;  // GOARCH of the engine
  std::string os_version;    // "6.5.3"
  std::string supervisor_version;
  std::string own_service;             // in which this agent runs; empty: none of the fleet's
  std::string running_commit;          // of the fleet's release; empty: none
  std::uint64_t highest_sequence = 0;  // of the fleet; 0: none seen
  std::uint64_t free_bytes = 0;        // on the engine's file system, for us
  std::uint64_t free_inodes = 0;
  bool engine_spools_pulls = false;  // see install::EngineFacts
  std::set<oci::Digest> images;      // image IDs present
  std::set<oci::Digest> layers;      // diff IDs present, as chain IDs: see chain_id()
  std::optional<OsFacts> os;
  std::string os_unknown;  // why there is no `os`
  OsState os_state;
  std::string config_json;                         // the device's config.json
  std::map<std::string, oci::Digest> connections;  // system-connections/: name to content
};

/// Chain ID of a layer over its parent: what decides whether the engine has it already.
/// \source OCI image specification, config.md, "Layer ChainID"
oci::Digest chain_id(const oci::Digest* parent, const oci::Digest& diff_id);

}  // namespace agent::plan
