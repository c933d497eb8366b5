// An output directory that appears under its name only when it is complete: it is written as
// NAME.partial beside it and renamed at the end.
#pragma once

#include <filesystem>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace tool {

/// What a bundle has to be called: ends in ".bundle", and a name that FAT can hold.
/// \error ErrorCode::kUsage
base::Status check_bundle_name(const std::filesystem::path& path);

class OutputDirectory {
 public:
  enum class Leftover {
    kDiscard,  // an interrupted run's files go, and so does an unfinished directory of this one
    kKeep,     // both stay, so that the next run can go on
  };

  /// Makes or takes over the unfinished directory beside `final_path` and locks it.
  /// \param force allows `final_path` to be there, if it is a bundle
  /// \error ErrorCode::kAlreadyExists: the final name is taken, or another bundle-tool is at work;
  ///   kNoSpace, kPermission, kIo
  static base::Result<OutputDirectory> open(const std::filesystem::path& final_path, bool force,
                                            Leftover leftover);

  OutputDirectory(OutputDirectory&& other) noexcept;
  OutputDirectory& operator=(OutputDirectory&&) = delete;
  ~OutputDirectory();

  /// Where to write.
  [[nodiscard]] const std::filesystem::path& path() const { return partial_; }

  /// Syncs the file system and gives the directory its name. A bundle that --force replaces goes
  /// away only after that.
  /// \error ErrorCode::kAlreadyExists, kNoSpace, kIo
  base::Status commit();

 private:
  OutputDirectory(std::filesystem::path final_path, bool force, Leftover leftover);

  std::filesystem::path final_;
  std::filesystem::path partial_;
  bool force_;
  Leftover leftover_;
  bool open_ = false;  // this run owns what is at partial_
  base::UniqueFd lock_;
};

}  // namespace tool
