// A balenaOS image as a whole: which partition is what, whether it is a flasher, and what kind of
// device it is for.
// \source balenaos.md section 1; balena-cloud.md section 13
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "image/image_file.hpp"
#include "image/partition_table.hpp"

namespace image {

enum class PartRole { kBoot, kRootA, kRootB, kState, kData, kEfi, kOther };

/// One partition and what is in it, as libblkid sees it.
struct Part {
  Partition partition;
  PartRole role;
  std::string label;        // of the file system; hostile
  std::string file_system;  // "vfat", "ext4", "crypto_LUKS", ...; empty when unknown
};

/// A disk image whose partitions are known. Found by GPT partition name and file-system label, both
/// with "resin-", "balena-" or "flash-"; the boot partition also by /device-type.json in it.
class OsImage {
 public:
  /// \error ErrorCode::kDiskImage when it is no balenaOS image, with what is missing; kIo
  static base::Result<OsImage> open(ImageFile file);

  [[nodiscard]] bool flasher() const { return flasher_; }
  [[nodiscard]] const PartitionTable& table() const { return table_; }
  [[nodiscard]] const std::vector<Part>& parts() const { return parts_; }
  /// \error ErrorCode::kDiskImage when there is none
  [[nodiscard]] base::Result<BlockRange> range_of(PartRole role) const;
  [[nodiscard]] base::Result<Part> part_of(PartRole role) const;

  [[nodiscard]] ImageFile& file() { return file_; }
  [[nodiscard]] const ImageFile& file() const { return file_; }

  /// Makes a partition larger (grow_partition()) and reads the table again.
  base::Status grow(PartRole role, std::uint64_t more_bytes);

 private:
  OsImage(ImageFile file, PartitionTable table, std::vector<Part> parts, bool flasher)
      : file_(std::move(file)),
        table_(std::move(table)),
        parts_(std::move(parts)),
        flasher_(flasher) {}
  ImageFile file_;
  PartitionTable table_;
  std::vector<Part> parts_;
  bool flasher_;
};

/// The image that a flasher carries in its flash-rootA: its path there, and whether it is signed.
struct InnerImage {
  std::string path;  // "opt/balena-image-genericx86-64-ext.balenaos-img"
  std::uint64_t size_bytes;
  bool signed_for_secure_boot;  // there is a PATH.sig
};

/// \pre flasher.flasher() \error ErrorCode::kDiskImage when there is none or more than one; kIo
base::Result<InnerImage> find_inner_image(const OsImage& flasher);

/// A copy of the inner image in a nameless file. \error ErrorCode::kDiskImage, kNoSpace, kIo;
///   kDiskImageUnsupported when it is encrypted, with what to do instead
base::Result<OsImage> open_inner_image(const OsImage& flasher, const InnerImage& inner,
                                       const std::filesystem::path& scratch,
                                       base::ProgressSink& progress);

/// Writes a changed inner image back, with holes where it is zero, and makes flash-rootA larger if
/// it does not fit; for that a copy of what flash-rootA holds is made in `scratch`. After an error
/// the flasher has to be thrown away.
/// \error ErrorCode::kDiskImageUnsupported when it is signed, with what to do instead; kNoSpace,
///   kIo
base::Status put_inner_image_back(OsImage& flasher, const InnerImage& inner,
                                  const ImageFile& content, const std::filesystem::path& scratch,
                                  base::ProgressSink& progress);

}  // namespace image
