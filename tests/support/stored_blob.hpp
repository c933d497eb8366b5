// Blobs as a bundle stores them, made by hand: the tests of whatever reads chunks need no packer.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "bundle/manifest.hpp"
#include "support/tar_builder.hpp"

namespace support {

/// A blob and the bytes of its file.
struct StoredBlob {
  bundle::Blob blob;
  std::string stored;
  std::string uncompressed;

  [[nodiscard]] std::string file_name() const { return "blobs/sha256/" + blob.digest.hex(); }
  /// Writes the file below `directory`, which is a bundle's.
  void write_to(const std::filesystem::path& directory) const { write_to(directory, stored); }
  /// The same with other content.
  void write_to(const std::filesystem::path& directory, std::string_view content) const {
    std::filesystem::create_directories(directory / "blobs/sha256");
    std::ofstream(directory / file_name(), std::ios::binary) << content;
  }
};

/// Stored as it is, in chunks of `chunk_bytes`.
inline StoredBlob plain_blob(std::string content, std::uint32_t chunk_bytes) {
  const auto digest = oci::Digest::of(base::as_bytes(content));
  bundle::ChunkTable table{bundle::ChunkTable::Kind::kFixed, chunk_bytes, {}, {}};
  for (std::size_t at = 0; at < content.size(); at += chunk_bytes) {
    table.hashes.push_back(base::sha256(base::as_bytes(content.substr(at, chunk_bytes))));
  }
  return {{digest, content.size(), oci::Encoding::kNone, digest, content.size(), table},
          content,
          content};
}

/// Stored as one zstd frame for each `chunk_bytes`.
inline StoredBlob framed_blob(std::string content, std::uint32_t chunk_bytes) {
  bundle::ChunkTable table{bundle::ChunkTable::Kind::kFrames, chunk_bytes, {}, {}};
  std::string stored;
  for (std::size_t at = 0; at < content.size(); at += chunk_bytes) {
    const std::string frame = zstd(content.substr(at, chunk_bytes));
    table.lengths.push_back(static_cast<std::uint32_t>(frame.size()));
    table.hashes.push_back(base::sha256(base::as_bytes(frame)));
    stored += frame;
  }
  return {{oci::Digest::of(base::as_bytes(stored)), stored.size(), oci::Encoding::kZstd,
           oci::Digest::of(base::as_bytes(content)), content.size(), table},
          stored,
          content};
}

}  // namespace support
