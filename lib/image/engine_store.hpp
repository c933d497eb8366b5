// A container engine's overlay2 store inside an ext4 file system: its images, and their layers as
// the tar archives that they came as, bit for bit.
// \source engine-and-supervisor.md sections 6 and 7
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/ext_file_system.hpp"
#include "oci/digest.hpp"
#include "oci/image_source.hpp"

namespace image {

struct StoredImage {
  oci::Digest id;                       // of its configuration
  std::vector<std::string> references;  // "repository:tag" and "repository@sha256:...", sorted
  std::uint64_t size_bytes = 0;         // the layers' sizes as the store has them
};

class EngineStore {
 public:
  /// \param root path of the data root in the file system: "docker" on the data partition,
  ///   "balena" in a slot
  /// \error ErrorCode::kDiskImage when there is no overlay2 store, or an aufs one; kIo
  static base::Result<EngineStore> open(std::shared_ptr<const ExtFileSystem> files,
                                        const std::string& root);

  [[nodiscard]] const std::vector<StoredImage>& images() const { return images_; }
  /// By image ID ("sha256:..."), full reference, or repository without tag; nothing if there is
  /// none.
  [[nodiscard]] const StoredImage* find(const std::string& name) const;

  /// Its layers are put together from the files of the store and the record of the original archive
  /// (tar-split); a layer whose record is missing, or whose files have changed, is an error.
  /// \error ErrorCode::kImageInvalid, kDiskImage, kLimitExceeded, kIo
  [[nodiscard]] base::Result<std::unique_ptr<oci::ImageSource>> open_image(
      const StoredImage& image) const;

 private:
  EngineStore(std::shared_ptr<const ExtFileSystem> files, std::string root,
              std::vector<StoredImage> images)
      : files_(std::move(files)), root_(std::move(root)), images_(std::move(images)) {}
  std::shared_ptr<const ExtFileSystem> files_;
  std::string root_;
  std::vector<StoredImage> images_;
};

}  // namespace image
