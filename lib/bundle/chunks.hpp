// The only way to the bytes of a blob: chunk by chunk, each verified in memory before anyone sees
// it.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "base/bytes.hpp"
#include "base/directory.hpp"
#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "oci/byte_source.hpp"

namespace bundle {

/// Gives verified chunks. Implementations may be called from several threads.
class ChunkProvider {
 public:
  ChunkProvider() = default;
  ChunkProvider(const ChunkProvider&) = delete;
  ChunkProvider& operator=(const ChunkProvider&) = delete;
  virtual ~ChunkProvider() = default;

  /// The stored bytes of one chunk, whose hash is the one in the manifest.
  /// \error ErrorCode::kBlobAltered, kBlobMissing, kBlobSize, kMediumUnsafeEntry, kIo; kInternal
  ///   for an index that the blob does not have
  virtual base::Result<base::Bytes> read_chunk(const Blob& blob, std::size_t index) = 0;
};

/// Chunks from a bundle's directory. Reads each chunk with one pread() into a buffer, verifies the
/// buffer and returns it; never maps a file. Keeps the descriptors of recently used blobs.
class DirectoryChunks final : public ChunkProvider {
 public:
  explicit DirectoryChunks(base::UntrustedDirectory directory);
  ~DirectoryChunks() override;
  base::Result<base::Bytes> read_chunk(const Blob& blob, std::size_t index) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The uncompressed bytes of `blob` from `offset` on, to its end. Reads ahead by one chunk on a
/// thread of its own, so that reading, verifying and decompressing overlap. Frames are reached
/// directly; other encodings are decompressed from the start and skipped. Exactly the announced
/// number of bytes comes out, or an error. The stream may be destroyed at any time; that waits for
/// a read_chunk() that is under way, so whoever wants it soon has to make the provider give up.
/// \param provider outlives the stream, and so does `blob`
/// \error ErrorCode::kInternal for an offset behind the end; from read(): kBlobExpansion when a
///   chunk yields more or fewer bytes than the manifest says; what the provider reports
base::Result<std::unique_ptr<oci::ByteSource>> open_uncompressed(ChunkProvider& provider,
                                                                 const Blob& blob,
                                                                 std::uint64_t offset = 0);

/// All of a small blob that is stored uncompressed (a configuration, a manifest).
/// \error ErrorCode::kLimitExceeded above `limit_bytes`; as read_chunk()
base::Result<std::string> read_small_blob(ChunkProvider& provider, const Blob& blob,
                                          std::size_t limit_bytes);

}  // namespace bundle
