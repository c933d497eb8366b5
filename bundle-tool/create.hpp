// bundle-tool create: from images and a description of the release to a signed bundle.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bundle/blob_writer.hpp"
#include "bundle/manifest.hpp"
#include "console.hpp"
#include "outcome.hpp"

namespace tool {

/// What a bundle brings besides a release.
struct HostOptions {
  std::string os_image;          // SOURCE; empty: no host OS
  std::string supervisor_image;  // SOURCE; empty: no supervisor
  std::string supervisor_name;   // REGISTRY/PATH
  std::string supervisor_version;
  std::filesystem::path config_patch;
  std::vector<std::filesystem::path> connections;
};

struct CreateOptions {
  std::filesystem::path output;
  bool force = false;
  std::vector<std::filesystem::path> sign_keys;  // empty: unsigned, for `bundle-tool sign` later
  std::filesystem::path password_file;
  std::filesystem::path compose;  // one of these two, or neither: no release
  std::filesystem::path target_state;
  std::vector<std::string> images;  // SERVICE=SOURCE
  HostOptions host;
  std::string name;      // empty: the output's name without ".bundle"
  std::string app_name;  // empty: what the release says, else `name`
  std::string commit;    // empty: see build_release()
  std::string platform;
  std::string registry_name;
  std::uint64_t sequence = 0;
  bundle::Targets targets;  // fleet_uuid may be empty with a target state
  std::filesystem::path device_list;
  bundle::Policy policy;
  bundle::PackOptions packing;

  [[nodiscard]] bool has_release() const { return !compose.empty() || !target_state.empty(); }
};

/// \error ErrorCode::kUsage and those of parse_compose(), parse_target_state(), load_secret_key(),
///   oci::open_image_source(), bundle::pack_layer(), OutputDirectory, HostParts. After an error
///   nothing is left under the output's name.
base::Result<Outcome> create(const CreateOptions& options, Console& console);

}  // namespace tool
