// The keys of config.json that are documented, with their types.
// \source balena-cloud.md section 6; balenaos.md section 9; balena-os/balena-supervisor
//   src/config/schema-type.ts
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace tool {

struct ConfigFindings {
  std::vector<std::string> unknown;  // keys that are not documented, dotted
  std::vector<std::string> misfits;  // of the wrong type: "KEY has to be ..., and is ..."
};

/// Looks at every key of `config`. No value is ever quoted: it may be a secret.
ConfigFindings examine_config_keys(const nlohmann::json& config);

/// \error ErrorCode::kConfigInvalid: `config` is no object, or a key has the wrong type; the error
///   names the key, what was found and what is expected
base::Status check_config_keys(const nlohmann::json& config);

/// Sets one key from "KEY=VALUE". KEY may have dots ("os.network.connectivity.interval"). VALUE is
/// taken as JSON where that has the type documented for KEY, as text everywhere else.
/// \error ErrorCode::kUsage: no KEY=; kConfigInvalid: something on the way to KEY is no object
base::Status set_config_key(nlohmann::json& config, std::string_view assignment);

/// Lines "KEY TYPE" of all documented keys, sorted, for the documentation's test.
std::string documented_config_keys();

}  // namespace tool
