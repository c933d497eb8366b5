// Reading and writing single files on a FAT boot partition so that a power cut never costs their
// content, in the same way as the host OS's own tool does it: whoever looks next finishes or
// discards what the other has begun.
#pragma once

#include <filesystem>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace base {

/// The content of `file`. A copy beside it that is complete by the checksum in its name is the
/// newer content: it is put in place first; every other left-over is removed.
/// \error kNotFound, kLimitExceeded above `limit_bytes`, kPermission, kIo
/// \source balenaos.md section 9, "fatrw protocol"
Result<Bytes> fatrw_read(const std::filesystem::path& file, std::uint64_t limit_bytes);

/// Replaces `file`. Needs room for two more copies of `bytes`; without it the old content stays.
/// After a power cut fatrw_read() gives either the old bytes or the new.
/// \error kNoSpace, kPermission, kIo
Status fatrw_write(const std::filesystem::path& file, ByteView bytes, unsigned mode = 0644);

}  // namespace base
