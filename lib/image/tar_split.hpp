// Puts a layer's tar archive together again, bit for bit: from the record of it that an engine
// keeps (tar-split: headers and padding) and from the content of the files that were extracted.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "oci/byte_source.hpp"

namespace image {

/// The most that one line of a record may take: an engine writes one for each header, with the
/// padding in front of it, and one for what follows the last entry.
inline constexpr std::size_t kMaxTarSplitLineBytes = std::size_t{32} * 1024 * 1024;

/// The files of one layer, by the names that its archive has for them.
class LayerContent {
 public:
  LayerContent() = default;
  LayerContent(const LayerContent&) = delete;
  LayerContent& operator=(const LayerContent&) = delete;
  virtual ~LayerContent() = default;

  /// The content of a regular file; valid for as long as this object.
  /// \param name hostile: as the record has it, see split_layer_path()
  /// \error ErrorCode::kImageInvalid when there is none, or it has another size; kDiskImage, kIo
  virtual base::Result<std::unique_ptr<oci::ByteSource>> open(const std::string& name,
                                                              std::uint64_t size_bytes) = 0;
};

/// The parts of a name in an archive, relative to the layer's root; "/" in front, "." and double
/// slashes mean nothing, as for an engine.
/// \error ErrorCode::kImageInvalid for "..", NUL, a name without parts, a part above 255 bytes
base::Result<std::vector<std::string_view>> split_layer_path(std::string_view name);

/// The archive. The bytes are checked against the record (sizes, CRC-64, order of the lines); that
/// the record itself is right only the caller can prove, by the layer's diff ID.
/// \param record tar-split.json.gz
/// \error from read(): ErrorCode::kImageInvalid for a damaged record or a file that is not what it
///   says; kLimitExceeded for a line above kMaxTarSplitLineBytes; what `content` reports
/// \source engine-and-supervisor.md section 7; vbatts/tar-split tar/storage/entry.go,
///   tar/asm/assemble.go
std::unique_ptr<oci::ByteSource> open_tar_split(std::unique_ptr<oci::ByteSource> record,
                                                std::unique_ptr<LayerContent> content);

}  // namespace image
