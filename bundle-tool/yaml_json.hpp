// YAML as compose files use it, turned into JSON: aliases and merge keys resolved, everything
// bounded.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.hpp"

namespace tool {

inline constexpr std::size_t kMaxYamlBytes = std::size_t{1} * 1024 * 1024;
inline constexpr std::size_t kMaxYamlDepth = 32;
inline constexpr std::size_t kMaxYamlValues = 100'000;  // after aliases have been expanded

/// One YAML document. Plain scalars get their type by the YAML 1.2 core schema ("no" is a string);
/// below keys whose values are text for an engine (environment, labels, command, ports, ...) they
/// stay text, exactly as written. `$$` becomes `$`; any other `$` in a value is an error.
/// \error ErrorCode::kComposeInvalid with the line: syntax, duplicate keys, custom tags, a
/// variable;
///   ErrorCode::kLimitExceeded for the limits above
/// \source YAML 1.2.2, section 10.3; the YAML merge key draft; compose specification,
/// "Interpolation"
base::Result<nlohmann::json> parse_yaml(std::string_view text);

}  // namespace tool
