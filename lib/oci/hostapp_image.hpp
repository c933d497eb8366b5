// Whether an image is a balenaOS host OS (hostapp), and what a device has to know of it before it
// gives up a slot for it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "oci/image_source.hpp"

namespace oci {

struct HostappImage {
  std::string version;                              // VERSION of os-release
  std::string meta_version;                         // META_BALENA_VERSION, else VERSION
  std::string device_type;                          // slug
  std::map<std::string, std::uint64_t> boot_files;  // below /resin-boot: path to size in bytes
  std::uint64_t boot_volume_bytes = 0;              // of /boot, in blocks of 4 KiB
  bool signed_for_secure_boot = false;              // has EFI/BOOT/grub-luks.cfg.sig
};

/// Reads the image's layers once; nothing is extracted. The slug is SLUG of os-release, or that of
/// /resin-boot/device-type.json; where both are, they have to agree.
/// \error ErrorCode::kOsImageInvalid: what is missing, and what the image may be instead; those of
///   LayeredFiles::read()
/// \source balenaos.md sections 1, 2, 5, 17
base::Result<HostappImage> read_hostapp_image(const ImageSource& image,
                                              base::ProgressSink& progress);

}  // namespace oci
