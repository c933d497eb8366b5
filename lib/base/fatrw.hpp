// Reading and writing single files on a FAT boot partition so that a power cut never costs their
// content, in the same way as the host OS's own tool does it: whoever looks next finishes or
// discards what the other has begun.
#pragma once

#include <filesystem>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace base {

/// The content of `file`. What an interrupted writer left beside it (`.NAME.XXXXXXXX.MD5.md5sum`)
/// is brought to its end first: the first one, in byte order, whose content fits its name is put in
/// place; all others, and temporary files, are removed. Left-overs of a file whose longer name only
/// begins like this one's are not touched (the OS's own tool would take them).
/// \error kNotFound; kLimitExceeded above `limit_bytes`; kNoSpace when an interrupted write cannot
///   be finished, which changes nothing; kPermission, kIo
/// \source https://github.com/balena-os/fatrw src/read.rs, src/checksum.rs
Result<Bytes> fatrw_read(const std::filesystem::path& file, std::uint64_t limit_bytes);

/// What fatrw_read() would return, without changing anything: for whoever only looks, also while
/// another program may be writing. \error as fatrw_read()
Result<Bytes> fatrw_peek(const std::filesystem::path& file, std::uint64_t limit_bytes);

/// Replaces `file`, or makes it. After a power cut at any moment fatrw_read(), and the OS's own
/// tool, give either the old bytes or the new. Left-overs of earlier writers are brought to their
/// end before: they would replace the new content at the next read. Needs room for two more copies
/// of `bytes`; without it the old content stays. Two writers of one file exclude each other by
/// other means.
/// \param mode of the new file, less the process's umask; FAT has none
/// \error kNoSpace, kPermission, kIo
/// \source https://github.com/balena-os/fatrw src/write.rs, src/checksum.rs, src/fs.rs
Status fatrw_write(const std::filesystem::path& file, ByteView bytes, unsigned mode = 0644);

/// The permissions that `file` has, for writing it with the same; `fallback` when it is not there.
unsigned mode_of_file(const std::filesystem::path& file, unsigned fallback);

}  // namespace base
