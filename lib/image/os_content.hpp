// What is inside a balenaOS image: the host OS in its slot, the supervisor, and the release that it
// has been preloaded with. Of a flasher it is what the flasher installs.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "image/engine_store.hpp"
#include "image/os_image.hpp"

namespace image {

inline constexpr std::uint64_t kMaxAppsJsonBytes = std::uint64_t{16} << 20U;

/// An image in one of the engine's stores of the disk image.
struct FoundImage {
  std::shared_ptr<const EngineStore> store;
  StoredImage image;

  /// \error as EngineStore::open_image()
  [[nodiscard]] base::Result<std::unique_ptr<oci::ImageSource>> open() const {
    return store->open_image(image);
  }
};

/// The settings are hostile: texts as the image has them.
struct FoundHostapp {
  FoundImage image;
  PartRole slot;
  std::map<std::string, std::string> os_release;  // VERSION, META_BALENA_VERSION, SLUG, ...
  std::string device_type;                        // slug, or empty
  std::string supervisor_name;     // as supervisor.conf names it, without tag and digest, or empty
  std::string supervisor_version;  // without "v" in front, or empty
};

struct FoundSupervisor {
  FoundImage image;
  std::string name;     // under which the host OS looks for it
  std::string version;  // or empty
};

class OsContent {
 public:
  /// \param path raw or compressed \param scratch for what has to be unpacked
  /// \error those of ImageFile::open(), OsImage::open()
  static base::Result<OsContent> open(const std::filesystem::path& path,
                                      const std::filesystem::path& scratch,
                                      base::ProgressSink& progress);

  /// The image itself: a flasher, or the system.
  [[nodiscard]] const OsImage& medium() const { return *medium_; }
  /// What a flasher carries. \pre medium().flasher() \error those of find_inner_image()
  [[nodiscard]] const base::Result<InnerImage>& inner() const { return *inner_; }
  /// What a device runs: the medium, or the image inside a flasher.
  /// \error those of find_inner_image(), open_inner_image()
  [[nodiscard]] base::Result<const OsImage*> system() const;

  /// A file system of the system's partition, opened once.
  /// \error ErrorCode::kDiskImage, kIo
  [[nodiscard]] base::Result<std::shared_ptr<const ExtFileSystem>> file_system(PartRole role) const;
  /// The engine's store on the data partition. \error as EngineStore::open()
  [[nodiscard]] base::Result<std::shared_ptr<const EngineStore>> data_store() const;

  /// The host OS of slot A, or of B if there is none in A: the one that `current` names, or the
  /// only one. \error ErrorCode::kDiskImage when there is none or it cannot be told; kIo
  /// \source balenaos.md sections 2 and 8
  [[nodiscard]] base::Result<FoundHostapp> hostapp() const;
  /// The supervisor that the host OS names. \error ErrorCode::kDiskImage when it is not there; kIo
  [[nodiscard]] base::Result<FoundSupervisor> supervisor(const FoundHostapp& hostapp) const;
  /// apps.json as it is; nothing if there is none, or an empty object. \error as read_file()
  [[nodiscard]] base::Result<std::optional<std::string>> apps_json() const;
  /// The image of a service by its name in apps.json. \error ErrorCode::kDiskImage when it is not
  ///   there; kIo
  [[nodiscard]] base::Result<FoundImage> service_image(const std::string& reference) const;

 private:
  explicit OsContent(OsImage medium) : medium_(std::make_unique<OsImage>(std::move(medium))) {}
  base::Result<FoundHostapp> hostapp_in(PartRole slot) const;

  std::unique_ptr<OsImage> medium_;
  std::optional<base::Result<InnerImage>> inner_;
  std::optional<base::Result<OsImage>> installed_;
  mutable std::map<PartRole, std::shared_ptr<const ExtFileSystem>> file_systems_;
  mutable std::shared_ptr<const EngineStore> data_store_;
};

}  // namespace image
