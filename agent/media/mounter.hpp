// Mounts the volumes of a medium where nobody else looks.
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <vector>

#include "base/directory.hpp"
#include "base/result.hpp"
#include "media/media_policy.hpp"

namespace agent::media {

enum class Access { kReadOnly, kReadWrite };

/// One mounted file system; unmounted (lazily, if the device is gone) when the object goes.
class Mount {
 public:
  Mount() = default;
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;
  virtual ~Mount() = default;
  [[nodiscard]] virtual const std::filesystem::path& path() const = 0;
};

class Mounter {
 public:
  Mounter() = default;
  Mounter(const Mounter&) = delete;
  Mounter& operator=(const Mounter&) = delete;
  virtual ~Mounter() = default;

  /// Reads partition table and superblocks with libblkid; mounts nothing.
  /// \error ErrorCode::kMediumGone, kMediumFilesystem, kIo
  virtual base::Result<std::vector<Volume>> probe(const Medium& medium) = 0;

  /// Numbers of the disks that the running system stands on. \error ErrorCode::kIo
  virtual base::Result<std::set<dev_t>> system_disks() = 0;

  /// Mounts with nosuid, nodev, noexec, nosymfollow; read-only: also ro, and ext4 without replaying
  /// its journal. By a node made from the device's number, checked against it.
  /// \error ErrorCode::kMediumGone, kMediumMount, kMediumFilesystem
  virtual base::Result<std::unique_ptr<Mount>> mount(const Volume& volume, Access access) = 0;
};

/// A volume of a medium that passed every check and is mounted read-only.
struct MountedMedium {
  Medium medium;
  Volume volume;
  std::unique_ptr<Mount> mount;
  base::UntrustedDirectory root;
};

/// Probes, decides by policy, mounts each allowed volume and checks its root for boot files. A
/// volume that cannot be mounted is left out as long as another one can, and the log says so.
/// \error those of Mounter and of media_policy.hpp; ErrorCode::kMediumRefused also for a root with
/// too
///   many entries
base::Result<std::vector<MountedMedium>> open_medium(Mounter& mounter, const Medium& medium,
                                                     const MediaPolicy& policy);

}  // namespace agent::media
