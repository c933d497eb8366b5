// Takes the compression off a layer, whatever it is.
#pragma once

#include <memory>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "oci/byte_source.hpp"

namespace oci {

enum class Encoding { kNone, kGzip, kZstd };

/// "none", "gzip" or "zstd", as the bundle's manifest writes it.
std::string_view name_of(Encoding encoding);
/// \error ErrorCode::kManifestField
base::Result<Encoding> parse_encoding(std::string_view text);

/// What the first bytes of a stream say it is: gzip (1f 8b), zstd (28 b5 2f fd, or a skippable
/// frame), anything else none. \source RFC 1952, RFC 8878
Encoding sniff_encoding(base::ByteView first_bytes);

/// The largest zstd window that is accepted, in bytes (as log2): bounds a decoder's memory.
inline constexpr int kMaxZstdWindowLog = 23;  // 8 MiB

/// The uncompressed bytes of `source`. Concatenated gzip members and zstd frames are one stream;
/// a stream that ends inside a member or frame, or has anything else after one, is an error.
/// \error from read(): ErrorCode::kImageInvalid for bad or truncated data or a window beyond
///   `max_window_log`; and what `source` reports
std::unique_ptr<ByteSource> open_decoder(std::unique_ptr<ByteSource> source, Encoding encoding,
                                         int max_window_log = kMaxZstdWindowLog);

/// As above; the encoding is sniffed.
base::Result<std::unique_ptr<ByteSource>> open_decoder(std::unique_ptr<ByteSource> source);

}  // namespace oci
