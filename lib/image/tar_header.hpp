// What one header of a tar archive says: the 512-byte block, and the PAX records that go before it.
// Read as Go's archive/tar reads it, because that is what engines extract layers with.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace image {

inline constexpr std::size_t kTarBlockBytes = 512;
/// Of one PAX header or long name. \source Go archive/tar, maxSpecialFileSize
inline constexpr std::uint64_t kMaxTarExtraBytes = std::uint64_t{1} << 20U;

/// The fields of one block, as they stand there.
struct TarHeader {
  char type;  // '0', '5', 'x', ...; '\0' of old archives too
  std::string name;
  std::string link_target;
  std::uint64_t mode;
  std::uint64_t uid;
  std::uint64_t gid;
  std::uint64_t size_bytes;
  std::int64_t mtime_seconds;
  std::uint64_t device_major;
  std::uint64_t device_minor;
};

/// \param block kTarBlockBytes, not all zero
/// \error ErrorCode::kImageInvalid for a wrong checksum or number
/// \source pax(1), tar(5); Go archive/tar for what counts as a number
base::Result<TarHeader> parse_tar_header(base::ByteView block);

/// PAX records in their order; a later one of the same name counts.
using PaxRecords = std::vector<std::pair<std::string, std::string>>;

/// \error ErrorCode::kImageInvalid
base::Result<PaxRecords> parse_pax_records(std::string_view text);

/// A PAX time: "1700000000.123456789". Digits beyond nanoseconds are cut.
/// \error ErrorCode::kImageInvalid
base::Result<std::pair<std::int64_t, std::uint32_t>> parse_pax_time(std::string_view text);

/// A decimal number without sign. \error ErrorCode::kImageInvalid
base::Result<std::uint64_t> parse_decimal(std::string_view text);

}  // namespace image
