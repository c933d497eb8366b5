// A second and a third copy of who the device is: config.json and the boot settings, on the state
// partition and on the data partition, made before anything else is touched.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "oci/digest.hpp"

namespace agent::record {

struct BackupPlaces {
  std::filesystem::path boot;         // the boot partition
  std::filesystem::path nonenc_boot;  // boot files of an encrypted system; else the same
  std::filesystem::path state;        // a directory on the state partition, for a copy
  std::filesystem::path data;         // a directory on the data partition, for a copy
};

/// Names of the keys of config.json that say who the device is. \source balenaos.md section 9
const std::vector<std::string>& identity_keys();

/// Saves config.json, as the host OS's own tool would read it, and the boot settings, to both
/// places. Each copy is complete with the SHA-256 of every file, or it is not there: the previous
/// one stays until then. The same content is not written again.
/// \param bundle for whose sake
/// \error ErrorCode::kIdentityBackup: config.json cannot be read or lacks its identity, a copy
///   cannot be written, or the copy that is there belongs to another device
base::Status back_up_identity(const BackupPlaces& places, const oci::Digest& bundle);

/// A copy, checked. \error ErrorCode::kIdentityBackup when it is not there or damaged
struct IdentityBackup {
  std::string config_json;
  std::map<std::string, std::string> files;  // path on the boot partition to content
};
base::Result<IdentityBackup> read_backup(const std::filesystem::path& place);

/// Names of the identity keys that config.json lacks or has with another value than the backup. All
/// of them when it cannot be read.
/// \error ErrorCode::kIdentityBackup when neither copy is good
base::Result<std::vector<std::string>> lost_identity(const BackupPlaces& places);

/// Puts the keys of lost_identity() back and keeps everything else; a config.json that cannot be
/// read is replaced as a whole. \pre the supervisor is stopped \return what was put back
/// \error ErrorCode::kIdentityBackup, kIdentityLost
base::Result<std::vector<std::string>> restore_identity(const BackupPlaces& places);

/// Puts back the settings that the host OS's hooks overwrite though they are the user's:
/// grub_extraenv. \return paths of what was put back
/// \error ErrorCode::kIdentityBackup, kConfigJson
/// \source balenaos.md section 5, the blacklist's defect
base::Result<std::vector<std::string>> restore_boot_settings(const BackupPlaces& places);

}  // namespace agent::record
