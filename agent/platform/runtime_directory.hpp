// The private place for device nodes and mount points.
#pragma once

#include <filesystem>

#include "base/result.hpp"

namespace agent::platform {

/// A directory that only root can enter, with a small tmpfs of its own over it: nodes work there
/// wherever it is (/run is nodev on many hosts), and no mount below it is seen elsewhere. What an
/// agent that was killed has left there is unmounted and removed first. Everything goes with the
/// object.
class RuntimeDirectory {
 public:
  /// \param path made if it is missing, with its parents
  /// \error ErrorCode::kPermission when it is someone else's, a symbolic link, or mounting is not
  ///   allowed; kIo
  static base::Result<RuntimeDirectory> open(const std::filesystem::path& path);
  RuntimeDirectory(RuntimeDirectory&& other) noexcept;
  RuntimeDirectory& operator=(RuntimeDirectory&&) = delete;
  RuntimeDirectory(const RuntimeDirectory&) = delete;
  RuntimeDirectory& operator=(const RuntimeDirectory&) = delete;
  ~RuntimeDirectory();

  /// Canonical.
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit RuntimeDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace agent::platform
