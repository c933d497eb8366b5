// Writes images into an OCI image layout: configurations as they are, layers as plain tar archives
// under their diff IDs, so that their digests are those that an engine saves them with. The layout
// appears under its name only when it is complete.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "oci/image_source.hpp"
#include "output_directory.hpp"

namespace tool {

struct WrittenImage {
  oci::Digest id;
  oci::Digest manifest;
  std::uint64_t size_bytes;  // of its layers' archives
};

class LayoutWriter {
 public:
  /// Makes the unfinished directory beside `final_path`, and what is missing above it.
  /// \error ErrorCode::kAlreadyExists; kNoSpace, kPermission, kIo
  static base::Result<LayoutWriter> create(const std::filesystem::path& final_path);

  /// Each layer is proven by its diff ID before it is there.
  /// \param name goes into the index as org.opencontainers.image.ref.name
  /// \param annotations more of them
  /// \error ErrorCode::kImageInvalid when a layer hashes to something else; kLimitExceeded;
  /// kNoSpace,
  ///   kIo; what the source reports
  base::Result<WrittenImage> add(const std::string& name, const oci::ImageSource& image,
                                 const std::map<std::string, std::string>& annotations,
                                 base::ProgressSink& progress);

  /// A file beside the layout's own. \error ErrorCode::kNoSpace, kIo
  base::Status add_file(const std::string& name, std::string_view content);

  /// Writes the index and gives the directory its name. \error as OutputDirectory::commit()
  base::Status commit();

  /// The unfinished directory.
  [[nodiscard]] const std::filesystem::path& path() const { return output_.path(); }

 private:
  explicit LayoutWriter(OutputDirectory output) : output_(std::move(output)) {}
  base::Status store(std::string_view document);
  base::Result<std::uint64_t> store_layer(const oci::ImageSource& image, std::size_t index,
                                          base::ProgressSink& progress);

  OutputDirectory output_;
  std::map<oci::Digest, std::uint64_t> blobs_;  // sizes
  std::vector<std::string> index_;              // one JSON object for each image
};

}  // namespace tool
