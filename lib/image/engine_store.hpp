// A container engine's overlay2 store inside an ext4 file system: its images, and their layers as
// the tar archives that they came as, bit for bit.
// \source engine-and-supervisor.md sections 6 and 7
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/ext_file_system.hpp"
#include "oci/digest.hpp"
#include "oci/image_source.hpp"

namespace image {

inline constexpr std::size_t kMaxStoredImages = 4096;
inline constexpr std::uint64_t kMaxRepositoriesBytes = std::uint64_t{16} << 20U;

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
  /// A single image that is damaged is left out, as an engine does: see problems().
  static base::Result<EngineStore> open(std::shared_ptr<const ExtFileSystem> files,
                                        const std::string& root);

  [[nodiscard]] const std::vector<StoredImage>& images() const { return images_; }
  /// What is wrong with images that are not in images(), and with the store's names; for people.
  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }
  /// By image ID ("sha256:..."), full reference, or repository without tag; a reference whose
  /// digest is not there is found by its repository, as the supervisor does. Of several images of
  /// a repository it is the one with the tag latest. Nothing if there is none, or none is that one.
  /// \source engine-and-supervisor.md section 3
  [[nodiscard]] const StoredImage* find(const std::string& name) const;

  /// Its layers are put together from the files of the store and the record of the original archive
  /// (tar-split); a layer whose record is missing, or whose files have changed, is an error.
  /// \error ErrorCode::kImageInvalid, kDiskImage, kLimitExceeded, kIo
  [[nodiscard]] base::Result<std::unique_ptr<oci::ImageSource>> open_image(
      const StoredImage& image) const;

  /// Where an image's layers were extracted to in the file system, bottom first.
  /// \error as open_image()
  [[nodiscard]] base::Result<std::vector<std::string>> layer_paths(const StoredImage& image) const;

  [[nodiscard]] const ExtFileSystem& files() const { return *files_; }
  [[nodiscard]] const std::string& root() const { return root_; }

 private:
  EngineStore(std::shared_ptr<const ExtFileSystem> files, std::string root)
      : files_(std::move(files)), root_(std::move(root)) {}
  base::Status read_images();
  std::shared_ptr<const ExtFileSystem> files_;
  std::string root_;
  std::vector<StoredImage> images_;
  std::vector<std::string> problems_;
};

/// "registry.example/v2/0af3" of "registry.example/v2/0af3:latest@sha256:..."
std::string repository_of(const std::string& reference);

}  // namespace image
