// A FAT file system inside an image, read by FatReader and written through mtools. The tools work
// on a copy of the volume, so that nothing outside of it can be changed and a change arrives as a
// whole or not at all.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/sizes.hpp"
#include "image/block_range.hpp"

namespace image {

struct FatEntry {
  std::string name;  // the long one, as it was written
  bool directory;
  std::uint64_t size_bytes;
};

class FatVolume {
 public:
  /// \error ErrorCode::kDiskImage when it is no FAT, is larger than its range or is damaged;
  ///   kLimitExceeded above 4 GiB; kNoSpace, kIo
  static base::Result<FatVolume> open(const BlockRange& range,
                                      const std::filesystem::path& scratch);

  [[nodiscard]] std::uint64_t free_bytes() const;
  /// Case does not matter in paths. Nothing when it is not there.
  /// \error ErrorCode::kLimitExceeded, kDiskImage, kIo
  [[nodiscard]] base::Result<std::optional<std::string>> read_file(const std::string& path,
                                                                   std::uint64_t limit_bytes) const;
  /// \param path "" is the root \error ErrorCode::kDiskImage, kIo; kNotFound
  [[nodiscard]] base::Result<std::vector<FatEntry>> list(const std::string& path) const;
  /// Replaces or makes a file; missing directories are made. After an error, except kNoSpace and
  /// kUsage, the copy is not to be committed.
  /// \error ErrorCode::kUsage for a name that FAT does not take; kNotFound when mtools is not
  ///   installed; kDiskImage when a directory is in its place; kNoSpace, kLimitExceeded, kIo
  base::Status write_file(const std::string& path, std::string_view content);
  /// Fine when it is not there. \error ErrorCode::kUsage for a directory, or a name with brackets;
  ///   kNotFound when mtools is not installed; kIo
  base::Status remove_file(const std::string& path);

  /// Checks the copy (both tables alike, free count right) and writes what has changed back to the
  /// image, then syncs it. \error ErrorCode::kIo, kDiskImage
  base::Status commit();

 private:
  struct State;
  explicit FatVolume(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace image
