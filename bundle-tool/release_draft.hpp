// A release as a person describes it, before its images have been packed: what compose.hpp and
// target_state.hpp read, and what release_builder.hpp turns into a bundle::Release.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tool {

struct ServiceDraft {
  std::string name;
  std::string image_reference;  // as the target state names it; empty: bundle-tool makes a name
  std::optional<std::uint64_t> id;
  std::optional<std::uint64_t> image_id;
  bool running = true;
  std::map<std::string, std::string> environment;
  std::map<std::string, std::string> labels;
  std::string composition_json = "{}";
  std::optional<std::string> contract_json;
};

struct ReleaseDraft {
  std::string fleet_uuid;  // empty when the source does not say
  std::string commit;      // empty when the source does not say
  std::optional<std::uint64_t> id;
  std::optional<std::uint64_t> app_id;
  std::string app_name;
  std::vector<ServiceDraft> services;  // by name
  std::string volumes_json = "{}";
  std::string networks_json = "{}";
  std::string config_json = "{}";     // configuration variables: only image preload takes them
  bool pin = false;                   // as config_json
  std::vector<std::string> warnings;  // what will not be as the author may expect
};

}  // namespace tool
