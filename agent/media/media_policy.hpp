// Whether a medium may be used at all: a pure decision over what is known about it.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "media/block_device.hpp"

namespace agent::media {

/// What a read-only look at one file system (or partition) of a medium gives.
struct Volume {
  BlockDevice device;
  std::string file_system;      // libblkid's TYPE: vfat, exfat, ext4; empty if none
  std::string label;            // of the file system
  std::string partition_label;  // GPT name
  std::string partition_type;   // GPT type GUID or "0xHH" for MBR
  bool boot_flag = false;       // MBR active flag or GPT legacy-boot attribute
};

struct MediaPolicy {
  std::set<DeviceKind> kinds;
  std::set<std::string> file_systems;
  std::string loop_files;  // directory of the files whose loop devices are media; empty: all
};

/// A loop device of somebody else: as if it were not there.
bool is_ignored(const Medium& medium, const MediaPolicy& policy);

/// Checks kind, system disk, labels and boot flags; says which volumes may be mounted.
/// \param system_disks numbers of the disks that carry /, /mnt/boot, /mnt/data, /mnt/state, the
///   engine
/// \return the volumes whose file system is on the allow-list, in order; never empty
/// \error ErrorCode::kMediumSystemDisk; kMediumRefused: the kind is not allowed, a label is one of
///   the OS's own (resin-*, balena-*, flash-*), a boot flag or an EFI system partition; with what
///   to do; kMediumFilesystem: no volume with an allowed file system
/// \source balenaos.md sections 1 and 14
base::Result<std::vector<Volume>> check_medium(const Medium& medium,
                                               const std::vector<Volume>& volumes,
                                               const std::set<dev_t>& system_disks,
                                               const MediaPolicy& policy);

/// Names at the root of a mounted volume that could make a device boot from it or feed its boot
/// loader: balena-image, balena-image-flasher, extra_uEnv.txt, resinOS_uEnv.txt, bootenv,
/// config.txt with start*.elf, EFI, grub... Compared without regard to case, as FAT does.
/// \error ErrorCode::kMediumRefused naming the first, and that it has to be removed
base::Status check_boot_files(const std::vector<std::string>& root_names);

}  // namespace agent::media
