#include "platform/libmount_mounter.hpp"

#include <fcntl.h>
#include <libmount/libmount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/handle.hpp"
#include "base/log.hpp"
#include "base/printable.hpp"
#include "platform/device_node.hpp"
#include "platform/volume_probe.hpp"

namespace agent::platform {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;
using media::Access;
using media::Volume;

using Context = base::Handle<libmnt_context, mnt_free_context>;

/// The one list of file systems that this program ever asks the kernel to parse, with what each
/// needs beside the common options. Policy may allow fewer, never more.
struct FileSystem {
  std::string_view name;
  std::string_view options_always;
  std::string_view options_read_only;
};
constexpr std::array<FileSystem, 3> kFileSystems = {
    FileSystem{"ext4", ",errors=remount-ro", ",noload"},
    FileSystem{"vfat", ",errors=remount-ro", ""},
    FileSystem{"exfat", ",errors=remount-ro", ""},
};

std::optional<std::string> options_for(const std::string& file_system, Access access) {
  for (const auto& known : kFileSystems) {
    if (known.name == file_system) {
      std::string options = access == Access::kReadOnly ? "ro" : "rw";
      options += ",nosuid,nodev,noexec,nosymfollow";
      options += known.options_always;
      options += access == Access::kReadOnly ? known.options_read_only : "";
      return options;
    }
  }
  return std::nullopt;
}

Error mount_error(int error_number, const Volume& volume) {
  const auto failed = [&](ErrorCode code, const std::string& what) {
    const auto reason = Error::from_errno(error_number, "mount " + volume.device.name).message();
    return Error(code, reason + ": " + what);
  };
  const auto type = base::printable(volume.file_system);
  if (is_medium_gone(error_number, volume.device)) {
    return failed(ErrorCode::kMediumGone, "the medium went while it was mounted");
  }
  switch (error_number) {
    case ENODEV:
      return failed(ErrorCode::kMediumFilesystem,
                    "the kernel of this device cannot read " + type +
                        "; format the medium with another file system");
    case EBUSY:
      return failed(ErrorCode::kMediumMount, "it is mounted elsewhere in another way; unmount it");
    case EACCES:
    case EROFS:
      return failed(ErrorCode::kMediumMount, "it is write-protected");
    case EPERM:
      return failed(ErrorCode::kMediumMount,
                    "the agent may not mount; its container needs privileged: true");
    default:
      return failed(ErrorCode::kMediumMount, "its file system (" + type +
                                                 ") is damaged; check it with fsck on another "
                                                 "machine, or format it anew");
  }
}

/// A fresh mount point.
class MountPoint {
 public:
  static base::Result<MountPoint> make(fs::path path) {
    if (::mkdir(path.c_str(), 0700) != 0) {
      return Error::from_errno(errno, "make a mount point");
    }
    return MountPoint(std::move(path));
  }
  MountPoint(MountPoint&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  MountPoint& operator=(MountPoint&&) = delete;
  MountPoint(const MountPoint&) = delete;
  MountPoint& operator=(const MountPoint&) = delete;
  ~MountPoint() {
    if (!path_.empty()) {
      ::rmdir(path_.c_str());  // if it stays, the next start removes it
    }
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  explicit MountPoint(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

class LibmountMount : public media::Mount {
 public:
  LibmountMount(DeviceNode node, MountPoint point, Access access, bool was_read_only)
      : node_(std::move(node)),
        point_(std::move(point)),
        access_(access),
        was_read_only_(was_read_only) {}
  ~LibmountMount() override {
    if (is_mounted_) {
      unmount();
    }
    if (access_ == Access::kReadOnly && !was_read_only_) {
      static_cast<void>(node_.set_read_only(false));  // fails when the medium is gone: no matter
    }
  }

  base::Status mount(const Volume& volume) {
    if (access_ == Access::kReadOnly) {
      OU_CHECK(node_.set_read_only(true));
    } else if (was_read_only_) {
      OU_CHECK(node_.set_read_only(false));  // left by an agent that was killed
    }
    OU_CHECK(call_libmount(volume));
    is_mounted_ = true;
    return check(volume);
  }

  [[nodiscard]] const fs::path& path() const override { return point_.path(); }

 private:
  base::Status call_libmount(const Volume& volume) {
    const auto options = options_for(volume.file_system, access_);
    const Context context(::mnt_new_context());
    libmnt_context* const raw = context.get();
    if (raw == nullptr || !options) {
      return Error(ErrorCode::kInternal, "prepare mounting " + volume.device.name);
    }
    // No fstab, no mtab, no /sbin/mount.* helper, no search for LABEL= or by path, and for writing
    // no silent fall back to read-only.
    const bool prepared = ::mnt_context_set_optsmode(raw, MNT_OMODE_NOTAB) == 0 &&
                          ::mnt_context_disable_helpers(raw, 1) == 0 &&
                          ::mnt_context_disable_mtab(raw, 1) == 0 &&
                          ::mnt_context_disable_canonicalize(raw, 1) == 0 &&
                          ::mnt_context_disable_swapmatch(raw, 1) == 0 &&
                          ::mnt_context_enable_rwonly_mount(raw, 1) == 0 &&
                          ::mnt_context_set_source(raw, node_.path().c_str()) == 0 &&
                          ::mnt_context_set_target(raw, path().c_str()) == 0 &&
                          ::mnt_context_set_fstype(raw, volume.file_system.c_str()) == 0 &&
                          ::mnt_context_set_options(raw, options->c_str()) == 0;
    if (!prepared) {
      return Error(ErrorCode::kInternal, "prepare mounting " + volume.device.name);
    }
    const int status = ::mnt_context_mount(raw);
    if (status == 0 && ::mnt_context_get_status(raw) == 1) {
      return base::ok();
    }
    const int error_number = ::mnt_context_syscall_called(raw) == 1
                                 ? ::mnt_context_get_syscall_errno(raw)
                                 : (status < 0 ? -status : EINVAL);
    return mount_error(error_number, volume);
  }

  /// What is mounted is this device, and the way it was asked for.
  base::Status check(const Volume& volume) {
    const base::UniqueFd root(
        ::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    struct statvfs flags {};
    if (!root.valid() || ::fstat(root.get(), &status) != 0 || ::fstatvfs(root.get(), &flags) != 0) {
      return mount_error(errno, volume);
    }
    unsigned long wanted = ST_NOSUID | ST_NODEV | ST_NOEXEC;
    wanted |= access_ == Access::kReadOnly ? static_cast<unsigned long>(ST_RDONLY) : 0UL;
    if (status.st_dev != volume.device.number || (flags.f_flag & wanted) != wanted) {
      return Error(ErrorCode::kMediumMount,
                   "what is mounted is not " + volume.device.name + " as it was asked for");
    }
    return base::ok();
  }

  void unmount() {
    if (access_ == Access::kReadWrite) {
      // A lazy unmount does not wait for what is still to be written.
      const base::UniqueFd root(::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (root.valid() && ::syncfs(root.get()) != 0) {
        base::log::warning("not everything may have been written to the medium");
      }
    }
    if (::umount2(path().c_str(), UMOUNT_NOFOLLOW) != 0) {
      ::umount2(path().c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    }
  }

  DeviceNode node_;
  MountPoint point_;
  Access access_;
  bool was_read_only_;
  bool is_mounted_ = false;
};

}  // namespace

base::Result<std::unique_ptr<LibmountMounter>> LibmountMounter::create(
    const fs::path& runtime_directory, const fs::path& host_root,
    std::vector<fs::path> system_paths) {
  OU_TRY(auto directory, RuntimeDirectory::open(runtime_directory));
  SystemPaths system{host_root, std::move(system_paths), directory.path()};
  return std::unique_ptr<LibmountMounter>(
      new LibmountMounter(std::move(directory), std::move(system)));
}

base::Result<std::vector<Volume>> LibmountMounter::probe(const media::Medium& medium) {
  return probe_volumes(medium, directory_.path());
}

base::Result<std::set<dev_t>> LibmountMounter::system_disks() {
  return find_system_disks(system_);
}

base::Result<std::unique_ptr<media::Mount>> LibmountMounter::mount(const Volume& volume,
                                                                   Access access) {
  if (!options_for(volume.file_system, access)) {
    return Error(ErrorCode::kMediumFilesystem, volume.device.name + " has the file system " +
                                                   base::printable(volume.file_system) +
                                                   ", which is never mounted");
  }
  OU_TRY(auto node, DeviceNode::make(directory_.path(), volume.device));
  OU_TRY(auto point, MountPoint::make(directory_.path() / ("mount-" + std::to_string(count_++))));
  OU_TRY(const bool was_read_only, node.is_read_only());
  auto mount =
      std::make_unique<LibmountMount>(std::move(node), std::move(point), access, was_read_only);
  OU_CHECK(mount->mount(volume));
  return std::unique_ptr<media::Mount>(std::move(mount));
}

}  // namespace agent::platform
