// The shapes of names and ids that people give to bundle-tool.
#pragma once

#include <string_view>

namespace tool {

/// Letters, digits, '.', '_', '-'; starts with a letter or digit; 1 to 63 characters.
bool is_service_name(std::string_view text);
/// What the supervisor takes as the name of an environment variable.
/// \source balena-os/balena-supervisor src/types/basic.ts (EnvVarObject)
bool is_variable_name(std::string_view text);
/// 32 lower-case hexadecimal digits: a fleet (app).
bool is_fleet_uuid(std::string_view text);
/// 32 lower-case hexadecimal digits, or 62 as old devices have.
bool is_device_uuid(std::string_view text);
/// 32 or 40 lower-case hexadecimal digits: a release.
bool is_commit(std::string_view text);
/// "raspberrypi4-64": lower-case letters, digits, '-'; 1 to 255 characters.
bool is_device_type(std::string_view text);
/// "registry.example:5000/v2/0af3": an image's name without tag and digest.
bool is_repository_name(std::string_view text);
/// A file below system-connections/: letters, digits, '.', '_', '-'; 1 to 100 characters.
bool is_connection_name(std::string_view text);
/// Whether FAT, exFAT and every other file system can hold a file of that name.
bool is_portable_file_name(std::string_view text);
/// Two or more numbers joined by dots, maybe followed by -text or +text: "2.113.33", "5.0.0+rev1".
bool is_version(std::string_view text);

}  // namespace tool
