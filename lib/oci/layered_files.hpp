// What an image's layers amount to once they lie on each other: names, kinds and sizes, and the
// content of a few small files. Nothing is extracted.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "oci/image_source.hpp"
#include "oci/tar_reader.hpp"

namespace oci {

class LayeredFiles {
 public:
  struct Node {
    TarEntry::Kind kind;
    std::uint64_t size_bytes = 0;
    std::string link_target;             // of a symlink
    std::optional<std::string> content;  // of a regular file that was asked for
  };
  /// By path, relative to the root, without "." and ".."; a hard link is the file it links to.
  using Nodes = std::map<std::string, Node>;

  static constexpr std::size_t kMaxNodes = 2'000'000;
  static constexpr std::size_t kMaxContentBytes = std::size_t{64} * 1024;

  /// Reads every layer once, bottom first.
  /// \param keep whether the content of a regular file of this name (its last part) is wanted;
  ///   files above kMaxContentBytes never are kept
  /// \error ErrorCode::kImageInvalid: no tar, a name with "..", a hard link to nothing;
  ///   kLimitExceeded; what the source reports
  /// \source OCI image specification, layer.md (whiteouts, opaque marks)
  static base::Result<LayeredFiles> read(const ImageSource& image,
                                         const std::function<bool(std::string_view)>& keep,
                                         base::ProgressSink& progress);

  [[nodiscard]] const Nodes& nodes() const { return nodes_; }
  /// The node that `path` leads to, through symlinks, which cannot leave the image; or none.
  [[nodiscard]] const Node* resolve(const std::string& path) const;

 private:
  Nodes nodes_;
};

}  // namespace oci
