// Copies of bundles on the device's own disk, so that the medium can go on to the next device.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "base/sizes.hpp"
#include "bundle/chunks.hpp"
#include "intake/verified_bundle.hpp"

namespace agent::intake {

/// One directory that holds copies, each "<first 32 digits of the manifest's digest>.bundle".
/// manifest.json is written last: a copy with it is complete, one without is a part that goes on
/// when the medium is back.
class StagingArea {
 public:
  explicit StagingArea(std::filesystem::path root) : root_(std::move(root)) {}

  [[nodiscard]] std::filesystem::path directory_of(const oci::Digest& bundle) const;
  /// The copy that is complete; nothing when there is none.
  [[nodiscard]] std::optional<std::filesystem::path> complete() const;
  /// Any copy, complete or not.
  [[nodiscard]] std::optional<std::filesystem::path> any() const;

  /// What the copy of `bundle` still takes, in 4 KiB blocks, and in files.
  [[nodiscard]] base::Room missing(const VerifiedBundle& bundle) const;
  /// What the copies of other bundles take.
  [[nodiscard]] base::Room others(const oci::Digest& bundle) const;

  /// Copies everything. Each chunk is verified in memory, and what was verified is written. Blobs
  /// that are there already are read and verified, and so is the beginning of one that is there in
  /// part: only the rest is read from `chunks`. A complete copy that holds is left as it is. When
  /// it returns ok, the copy is complete and synced.
  /// \error ErrorCode::kStaging when the disk does not take it; what reading the medium reports;
  ///   kCancelled. What was copied stays
  base::Status copy(const VerifiedBundle& bundle, bundle::ChunkProvider& chunks,
                    base::ProgressSink& progress, const std::stop_token& stop) const;

  /// A copy that is being removed when the power goes is never taken for a complete one.
  /// \error ErrorCode::kStaging
  [[nodiscard]] base::Status remove(const std::filesystem::path& copy) const;
  [[nodiscard]] base::Status remove_others(const oci::Digest& bundle) const;

 private:
  [[nodiscard]] std::vector<std::filesystem::path> copies() const;
  std::filesystem::path root_;
};

}  // namespace agent::intake
