// Mounts media with libmount, in a private place, through private nodes.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "media/mounter.hpp"

namespace agent::platform {

struct MounterPlaces {
  std::filesystem::path runtime_directory;          // private; made if it is missing
  std::filesystem::path host_root;                  // see find_system_disks()
  std::vector<std::filesystem::path> system_paths;  // balena_system_paths()
};

/// Several threads may use the mounter at the same time; it outlives the mounts it makes. On a
/// file system that is mounted read-only the device itself is made read-only too, since ext4 cleans
/// up orphaned files even then; mounting for writing takes that back. ext4's own wish to panic on
/// an error is overruled. \error ErrorCode::kPermission, kIo: the runtime directory cannot be
/// prepared \source libmount's mnt_context_* functions; ext4(5); mount(8)
base::Result<std::unique_ptr<media::Mounter>> open_libmount_mounter(const MounterPlaces& places);

}  // namespace agent::platform
