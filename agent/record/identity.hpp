// Which members of config.json say who the device is, and what is wrong with them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "record/config_document.hpp"

namespace agent::record {

/// Names of the keys of config.json that say who the device is. \source balenaos.md section 9
const std::vector<std::string>& identity_keys();

/// Whether `key` gives access and is never shown.
bool is_secret_key(std::string_view key);

/// A member's value as text: a string without its quotation marks, anything else as JSON; empty
/// when it is missing, null or an empty string.
std::string text_of(const ConfigDocument& document, std::string_view key);

/// Whether a device can be told by `document`: uuid, deviceType, applicationId, and deviceApiKey
/// or, before it registers, apiKey.
/// \error ErrorCode::kConfigJson naming what is missing
base::Status check_identity(const ConfigDocument& document);

/// Identity keys that `before` has and `now` has not, or has with another value. A number and the
/// same number as a string are equal. apiKey and initialDeviceName may go once the device has its
/// own key: they serve the first registration alone.
std::vector<std::string> changed_identity(const ConfigDocument& before, const ConfigDocument& now);

/// Of changed_identity(), what no one can have meant: keys that `now` lacks, and keys of access
/// that are others. A device that was moved to another fleet meanwhile has another applicationId,
/// and keeps it. If the uuid is lost or another one: all of them, since they belong together.
std::vector<std::string> lost_identity(const ConfigDocument& before, const ConfigDocument& now);

/// Gives the members `keys` of `now` the values of `before`, and nothing else. If the uuid is among
/// them, identity keys that `before` does not have go too, since they belong to that other uuid.
/// \return the keys that were touched
std::vector<std::string> put_back_identity(const ConfigDocument& before, ConfigDocument& now,
                                           std::vector<std::string> keys);

}  // namespace agent::record
