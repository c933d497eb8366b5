// Mounts media with libmount, in a private place, through private nodes.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <vector>

#include "media/mounter.hpp"
#include "platform/runtime_directory.hpp"
#include "platform/system_disks.hpp"

namespace agent::platform {

/// Several threads may use the mounter at the same time; it outlives the mounts it makes. Under a
/// file system that is mounted read-only the device itself is made read-only too, since ext4 cleans
/// up orphaned files even then; mounting for writing takes that back. ext4's own wish to panic on
/// an error is overruled.
class LibmountMounter : public media::Mounter {
 public:
  /// \param runtime_directory private; made if it is missing, see RuntimeDirectory
  /// \param host_root, system_paths see SystemPaths
  /// \error ErrorCode::kPermission, kIo: the runtime directory cannot be prepared
  /// \source libmount's mnt_context_* functions; ext4(5); mount(8)
  static base::Result<std::unique_ptr<LibmountMounter>> create(
      const std::filesystem::path& runtime_directory, const std::filesystem::path& host_root,
      std::vector<std::filesystem::path> system_paths = balena_system_paths());

  base::Result<std::vector<media::Volume>> probe(const media::Medium& medium) override;
  base::Result<std::set<dev_t>> system_disks() override;
  base::Result<std::unique_ptr<media::Mount>> mount(const media::Volume& volume,
                                                    media::Access access) override;

 private:
  LibmountMounter(RuntimeDirectory directory, SystemPaths system)
      : directory_(std::move(directory)), system_(std::move(system)) {}

  RuntimeDirectory directory_;
  SystemPaths system_;
  std::atomic<unsigned> count_ = 0;
};

}  // namespace agent::platform
