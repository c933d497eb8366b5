// The chunks of the bundle that is being installed, from whatever stick has it at the moment.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>

#include "base/directory.hpp"
#include "bundle/chunks.hpp"

namespace agent::intake {

/// When the medium goes (any I/O error, a file that is suddenly missing or shorter), read_chunk()
/// waits until attach() brings the same bundle again, and goes on with the chunk it was asked for.
/// A chunk that reads but does not verify is an error at once: that is an attack or a broken stick.
///
/// Any number of threads may read. A read that hangs inside the kernel cannot be interrupted:
/// neither stop() nor detach() ends it, the kernel's own time limit for the device does (some 30 s
/// for USB).
class MediumChunks final : public bundle::ChunkProvider {
 public:
  /// \param wait_limit how long one absence may last
  /// \param on_wait told with true when the first reader starts to wait, false when a chunk has
  /// been
  ///   read again; from a reader's thread, one call at a time. It must not read chunks itself
  MediumChunks(base::UntrustedDirectory directory, std::chrono::seconds wait_limit,
               std::function<void(bool waiting)> on_wait);
  ~MediumChunks() override;

  /// Reading goes on from `directory`, which holds the same bundle (same manifest digest: the
  /// caller has checked). Replaces what was attached.
  void attach(base::UntrustedDirectory directory);
  /// The medium is known to be gone; its descriptors are closed, so that it can be unmounted (those
  /// that a reader is using at this moment: when its read returns).
  void detach();
  /// Ends all waiting: readers get ErrorCode::kCancelled from now on.
  void stop();

  /// Bytes read from media and verified so far.
  [[nodiscard]] std::uint64_t bytes_read() const;
  [[nodiscard]] bool waiting() const;

  /// \error ErrorCode::kBlobAltered; kMediumTimeout after wait_limit; kCancelled
  base::Result<base::Bytes> read_chunk(const bundle::Blob& blob, std::size_t index) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace agent::intake
