// Copies single files and reads them back from the medium itself.
#pragma once

#include <filesystem>

#include "base/directory.hpp"
#include "base/progress.hpp"
#include "base/result.hpp"
#include "bundle_files.hpp"

namespace tool {

/// Copies `file` below `directory` and checks its size and digest on the way. The data is on its
/// way to the medium when this returns, not necessarily there. \error ErrorCode::kFileAltered: the
/// source is not what the manifest says, and no file is left;
///   kNoSpace, kIo
base::Status copy_file(const base::UntrustedDirectory& source, const ListedFile& file,
                       const std::filesystem::path& directory, base::ProgressSink& progress);

/// Digest of what the medium holds: read past the page cache where the file system can (O_DIRECT),
/// otherwise after asking the kernel to forget its copy. The file has to be synced before.
/// \error kNotFound, kIo
base::Result<oci::Digest> read_back(const std::filesystem::path& path,
                                    base::ProgressSink& progress);

}  // namespace tool
