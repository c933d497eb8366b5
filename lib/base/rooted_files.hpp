// Files of another root directory (the host's, seen from a container), found as the host finds
// them.
#pragma once

#include <filesystem>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace base {

/// Opens `path` as a process does whose root directory is `root`: symbolic links, absolute ones
/// too, never lead out of it. Mount points below it are crossed, automounts are triggered.
/// \error kNotFound, kPermission, kIo \source openat2(2): RESOLVE_IN_ROOT
Result<UniqueFd> open_in_root(const std::filesystem::path& root, const std::filesystem::path& path,
                              int flags, unsigned mode = 0600);

/// A whole file of at most `limit_bytes`. \error as open_in_root(), and kLimitExceeded
Result<Bytes> read_file_in_root(const std::filesystem::path& root,
                                const std::filesystem::path& path, std::uint64_t limit_bytes);

/// Whether there is anything at `path`; false also when that cannot be told.
bool exists_in_root(const std::filesystem::path& root, const std::filesystem::path& path);

}  // namespace base
