// Decoders for what disk images come in beside gzip and zstd, which lib/oci has. Private to this
// library.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/result.hpp"
#include "image/block_range.hpp"
#include "oci/byte_source.hpp"

namespace image {

/// The uncompressed bytes of one or more bzip2 streams.
/// \error from read(): ErrorCode::kDiskImage for bad or truncated data; what `source` reports
std::unique_ptr<oci::ByteSource> open_bzip2(std::unique_ptr<oci::ByteSource> source);

/// What decoding xz may take: `xz -9` needs 65 MiB.
inline constexpr std::uint64_t kMaxXzMemoryBytes = std::uint64_t{256} << 20U;

/// The uncompressed bytes of one or more xz streams. \error as open_bzip2(); kDiskImage also when
/// it needs more than kMaxXzMemoryBytes
std::unique_ptr<oci::ByteSource> open_xz(std::unique_ptr<oci::ByteSource> source);

/// The uncompressed size that the indexes at the ends of the streams of an xz file add up to;
/// nothing when they cannot be read: then decoding it says what is wrong.
std::optional<std::uint64_t> xz_uncompressed_size(const SharedFd& file, std::uint64_t size_bytes);

/// The uncompressed bytes of one raw deflate stream, as zip has them. \error as open_bzip2()
std::unique_ptr<oci::ByteSource> open_deflate(std::unique_ptr<oci::ByteSource> source);

}  // namespace image
