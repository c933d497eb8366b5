// The SOURCE image:IMG: images that are taken out of a balenaOS disk image, by what they are for.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "image/os_content.hpp"
#include "release_draft.hpp"

namespace tool {

/// What an image is wanted for: a disk image holds many.
struct ImageRole {
  enum class Kind { kHostOs, kSupervisor, kService };
  Kind kind = Kind::kService;
  std::string service;  // its name in apps.json
};

/// Disk images that are open, each once however often it is named.
class DiskImages {
 public:
  /// \param scratch where compressed images are unpacked to
  explicit DiskImages(std::filesystem::path scratch) : scratch_(std::move(scratch)) {}

  /// Whether a SOURCE is "image:IMG".
  static bool is_one(const std::string& source) { return source.starts_with("image:"); }

  /// \param source image:IMG \error those of image::OsContent::open()
  base::Result<const image::OsContent*> open(const std::string& source,
                                             base::ProgressSink& progress);

  /// \error as open(), image::OsContent; kNotFound for a service that the preloaded release does
  /// not
  ///   have; kTargetStateInvalid for an apps.json that cannot be read
  base::Result<std::unique_ptr<oci::ImageSource>> open_image(const std::string& source,
                                                             const ImageRole& role,
                                                             base::ProgressSink& progress);

 private:
  std::filesystem::path scratch_;
  std::map<std::string, image::OsContent> opened_;  // by source
};

/// The release that an image has been preloaded with.
/// \error ErrorCode::kNotFound when there is none; those of parse_target_state()
base::Result<ReleaseDraft> read_preloaded_release(const image::OsContent& content);

}  // namespace tool
