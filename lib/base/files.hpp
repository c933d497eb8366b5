// Reading and writing whole files with errors that name them; durable where it matters.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace base {

/// Opens with O_CLOEXEC added. \error kNotFound, kPermission, kIo
Result<UniqueFd> open_file(const std::filesystem::path& path, int flags, unsigned mode = 0600);

/// Everything from the descriptor's position to its end.
/// \error ErrorCode::kLimitExceeded when there is more than `limit_bytes`; kIo
Result<Bytes> read_to_end(int fd, std::uint64_t limit_bytes);

/// A whole file of at most `limit_bytes`. \error kNotFound, kLimitExceeded, kPermission, kIo
Result<Bytes> read_file(const std::filesystem::path& path, std::uint64_t limit_bytes);

/// Reads at `offset` until `buffer` is full or the file ends; EINTR is retried.
/// \return bytes read, fewer than asked for only at the end of the file. \error kIo
Result<std::size_t> read_at(int fd, std::span<std::uint8_t> buffer, std::uint64_t offset);

/// Writes all of `bytes`; EINTR and short writes are continued. \error kNoSpace, kIo
Status write_all(int fd, ByteView bytes);

/// Replaces `path` so that after a power cut it holds either the old bytes or the new: a temporary
/// file beside it (`path`.new), fsync, rename, fsync of the directory. Symbolic links at either
/// name are replaced, not followed. \error kNoSpace, kPermission, kIo
Status write_file_durably(const std::filesystem::path& path, ByteView bytes, unsigned mode = 0600);

/// Makes `path`, which must not be there, not even as a symbolic link; durable when it returns.
/// After an error it is not there. \error kAlreadyExists, kNoSpace, kPermission, kIo
Status write_new_file(const std::filesystem::path& path, ByteView bytes, unsigned mode = 0600);

/// Removes `path` if it is there and syncs its directory. \error kPermission, kIo
Status remove_file_durably(const std::filesystem::path& path);

/// fsync() of a directory. \error kIo
Status sync_directory(const std::filesystem::path& path);

}  // namespace base
