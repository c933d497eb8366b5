// How much room a layer takes once an engine has extracted it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "oci/tar_reader.hpp"

namespace oci {

struct LayerUsage {
  std::uint64_t bytes;   // file data, directories and long symlinks in whole 4 KiB blocks of ext4
  std::uint64_t inodes;  // entries, hard links counted once
};

/// What one entry takes in whole 4 KiB blocks of ext4; nothing for a hard link or a device node.
/// \param target_bytes length of a symlink's target
std::uint64_t installed_bytes(TarEntry::Kind kind, std::uint64_t size_bytes,
                              std::size_t target_bytes);

/// Counts a layer's tar while it streams by. The tar is read with libarchive on a thread of its
/// own, so that a caller can hash and compress at the same time.
class LayerMeter {
 public:
  LayerMeter();
  LayerMeter(const LayerMeter&) = delete;
  LayerMeter& operator=(const LayerMeter&) = delete;
  ~LayerMeter();

  /// The next bytes of the uncompressed tar; waits while the reader is behind by more than 4 MiB.
  void feed(base::ByteView bytes);
  /// No more bytes. \error ErrorCode::kImageInvalid when it was no tar archive
  base::Result<LayerUsage> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace oci
