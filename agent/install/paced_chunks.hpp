// Chunks that come no faster than the device's disk takes what is made of them.
#pragma once

#include <atomic>
#include <functional>

#include "bundle/chunks.hpp"

namespace agent::install {

/// Calls `settle` whenever another `interval_bytes` of stored chunks have been read. With a
/// function that syncs the file system below the engine, only about that much is ever waiting to be
/// written: the OS's disk watchdog, which reads from the same disk, is not kept waiting behind it.
/// \source balenaos.md section 12
class PacedChunks final : public bundle::ChunkProvider {
 public:
  PacedChunks(bundle::ChunkProvider& chunks, std::uint64_t interval_bytes,
              std::function<void()> settle)
      : chunks_(chunks), interval_bytes_(interval_bytes), settle_(std::move(settle)) {}
  base::Result<base::Bytes> read_chunk(const bundle::Blob& blob, std::size_t index) override;

 private:
  bundle::ChunkProvider& chunks_;
  std::uint64_t interval_bytes_;
  std::function<void()> settle_;
  std::atomic<std::uint64_t> since_{0};
};

/// A function that syncs the file system which holds `path` on the host, as far as it can.
std::function<void()> file_system_sync(const std::filesystem::path& host_root,
                                       const std::filesystem::path& path);

}  // namespace agent::install
