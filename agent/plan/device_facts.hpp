// Everything about a device that a plan depends on.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "oci/digest.hpp"

namespace agent::plan {

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
};

/// Chain ID of a layer over its parent: what decides whether the engine has it already.
/// \source OCI image specification, config.md, "Layer ChainID"
oci::Digest chain_id(const oci::Digest* parent, const oci::Digest& diff_id);

}  // namespace agent::plan
