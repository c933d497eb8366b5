// The one disk image in a zip archive. The archive's directory at its end is what counts, and
// nothing may come after it. Private to this library.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "image/block_range.hpp"
#include "oci/byte_source.hpp"

namespace image {

struct ZipMember {
  std::string name;  // as the archive has it: hostile
  std::uint16_t method;
  std::uint32_t crc32;
  std::uint64_t data_offset_bytes;
  std::uint64_t compressed_bytes;
  std::uint64_t size_bytes;
};

inline constexpr std::uint64_t kMaxZipDirectoryBytes = std::uint64_t{1} << 20U;

/// The only file of the archive; of several, the only one whose name ends as an image's does (.img,
/// .raw, .wic, .bin, .balenaos-img, .sdcard, .rpi-sdimg). What macOS adds (__MACOSX/) is no file.
/// \error ErrorCode::kDiskImage when there is none, or more than one; when the archive is
///   encrypted, split, damaged, uses a method other than stored and deflate, or has something after
///   its end; kIo
/// \source PKWARE's APPNOTE.TXT 6.3: sections 4.3 and 4.5.3
base::Result<ZipMember> find_image_in_zip(const SharedFd& file, std::uint64_t file_bytes);

/// The content of `member`; its size and CRC-32 are checked at its end.
/// \param compressed the bytes of the archive from member.data_offset_bytes,
///   member.compressed_bytes of them
/// \error from read(): ErrorCode::kDiskImage; what `compressed` reports
std::unique_ptr<oci::ByteSource> open_zip_member(const ZipMember& member,
                                                 std::unique_ptr<oci::ByteSource> compressed);

}  // namespace image
