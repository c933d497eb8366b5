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

/// Saves config.json, as the host OS's own tool would read it, and the boot settings, to both
/// places. Each copy is complete with the SHA-256 of every file, or it is not there: the previous
/// one stays until then. The same content is not written again.
/// After an update that was broken off call restore_boot_settings() first: otherwise what it
/// overwrote is saved as the user's own.
/// \param bundle for whose sake
/// \error ErrorCode::kIdentityBackup: config.json cannot be read or lacks its identity, a copy
///   cannot be written, or a copy that is there belongs to another device or has a key of the
///   device that config.json has lost; that copy is kept
base::Status back_up_identity(const BackupPlaces& places, const oci::Digest& bundle);

/// A copy, checked. \error ErrorCode::kIdentityBackup when it is not there or damaged
struct IdentityBackup {
  std::string config_json;
  // Path on the boot partition to content; "nonenc/" before it if it is one of nonenc_boot.
  std::map<std::string, std::string> files;
};
base::Result<IdentityBackup> read_backup(const std::filesystem::path& place);

/// What back_up_identity() would save now. Changes nothing.
/// \error ErrorCode::kConfigJson when config.json cannot be read or lacks its identity
base::Result<IdentityBackup> read_present(const BackupPlaces& places);

/// Removes both copies, for a device that is given another identity on purpose.
/// \error ErrorCode::kIdentityBackup
base::Status forget_backups(const BackupPlaces& places);

/// Names of the identity keys that config.json has lost since the backup, by the rule of
/// lost_identity() in record/identity.hpp; all that the backup has when it cannot be read. Changes
/// nothing.
/// \error ErrorCode::kIdentityBackup when neither copy is good
base::Result<std::vector<std::string>> lost_identity(const BackupPlaces& places);

/// Puts the keys of lost_identity() back; identity keys that belong to another uuid go. Everything
/// else keeps its text; a config.json that cannot be read is replaced as a whole. \pre the
/// supervisor is stopped
/// \return the keys that were put back or removed; "config.json" for the whole file
/// \error ErrorCode::kIdentityBackup, kIdentityLost
base::Result<std::vector<std::string>> restore_lost_identity(const BackupPlaces& places);

/// The same for every key that is not what the backup has: a person asked for it.
/// \error as restore_lost_identity()
base::Result<std::vector<std::string>> restore_identity(const BackupPlaces& places);

/// As restore_identity(), from `backup`. \error as restore_identity()
base::Result<std::vector<std::string>> restore_identity_from(const BackupPlaces& places,
                                                             const IdentityBackup& backup);

/// Puts back the user's settings that the host OS's hooks overwrite (grub_extraenv, system-proxy/,
/// dispatcher.d/), and those that are not there any more or are empty (network profiles,
/// extra_uEnv.txt, config.txt, ...). Not what belongs to the version of the OS. A directory that
/// the OS has removed is not made again.
/// \return paths of what was put back, as in IdentityBackup::files
/// \error ErrorCode::kIdentityBackup, kConfigJson
/// \source balenaos.md section 5, the blacklist's defect and "not kept either"
base::Result<std::vector<std::string>> restore_boot_settings(const BackupPlaces& places);

}  // namespace agent::record
