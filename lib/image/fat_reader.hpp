// Reads a FAT file system where it is. By itself, because what is in an image is hostile and need
// not be copied to be looked at; FatVolume writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "image/block_range.hpp"
#include "image/fat_layout.hpp"

namespace image {

struct FatNode {
  std::string name;        // the long one; hostile
  std::string short_name;  // "CONFIG~1.JSO"
  bool directory;
  std::uint64_t size_bytes;
  std::uint32_t first_cluster;    // 0: none
  std::int64_t modified_seconds;  // as if the volume's clock were UTC
};

class FatReader {
 public:
  /// \error as FatLayout::read()
  static base::Result<FatReader> open(const BlockRange& range);

  [[nodiscard]] const FatLayout& layout() const { return layout_; }
  [[nodiscard]] std::uint32_t free_clusters() const;
  [[nodiscard]] std::uint64_t free_bytes() const {
    return std::uint64_t{free_clusters()} * layout_.cluster_bytes;
  }

  /// The root's entries, or those of a directory.
  /// \error ErrorCode::kDiskImage when it is damaged; kIo
  [[nodiscard]] base::Result<std::vector<FatNode>> root() const;
  [[nodiscard]] base::Result<std::vector<FatNode>> list(const FatNode& directory) const;
  /// \param path "system-connections/office"; a '/' in front does not matter, nor does case
  [[nodiscard]] base::Result<std::optional<FatNode>> find(std::string_view path) const;
  /// \error ErrorCode::kLimitExceeded; kDiskImage when it is a directory, or damaged; kIo
  [[nodiscard]] base::Result<std::string> read(const FatNode& file,
                                               std::uint64_t limit_bytes) const;

  /// Proves that no cluster belongs to two files, and that no directory contains itself.
  /// \return the newest time of a file or directory; 1980-01-01 when there are none
  /// \error ErrorCode::kDiskImage
  [[nodiscard]] base::Result<std::int64_t> check() const;

 private:
  FatReader(const BlockRange& range, const FatLayout& layout, base::Bytes table)
      : range_(range), layout_(layout), table_(std::move(table)) {}
  [[nodiscard]] std::uint32_t next(std::uint32_t cluster) const;
  [[nodiscard]] base::Result<std::vector<std::uint32_t>> chain(std::uint32_t first,
                                                               std::uint64_t limit_clusters) const;
  [[nodiscard]] base::Result<base::Bytes> content(std::uint32_t first, std::uint64_t limit_bytes,
                                                  bool whole_chain) const;

  BlockRange range_;
  FatLayout layout_;
  base::Bytes table_;
};

}  // namespace image
