// The shape that minisign's files share: lines of which some are a marked comment and some base64.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"

namespace bundle::minisign {

inline constexpr std::string_view kUntrustedPrefix = "untrusted comment: ";
inline constexpr std::string_view kTrustedPrefix = "trusted comment: ";
inline constexpr std::array<std::uint8_t, 2> kPlainAlgorithm{'E', 'd'};  // also marks keys
inline constexpr std::array<std::uint8_t, 2> kPrehashedAlgorithm{'E', 'D'};

/// Whether libsodium can be used; sets it up the first time.
bool crypto_ready();

/// The lines of `text` without LF or CR LF; nothing unless there are exactly `count`. The last one
/// may lack its end. A file that was edited on Windows has CR LF.
std::optional<std::vector<std::string_view>> lines_of(std::string_view text, std::size_t count);

/// The bytes of a base64 line that holds exactly `size` of them.
std::optional<base::Bytes> decode_exactly(std::string_view base64, std::size_t size);

/// Reads fields one after the other from bytes whose length was checked before.
class FieldReader {
 public:
  explicit FieldReader(base::ByteView bytes) : rest_(bytes) {}
  /// \pre `size` bytes are left
  base::ByteView take(std::size_t size) {
    const auto field = rest_.first(size);
    rest_ = rest_.subspan(size);
    return field;
  }
  template <std::size_t size>
  void read(std::array<std::uint8_t, size>& field) {
    std::ranges::copy(take(size), field.begin());
  }

 private:
  base::ByteView rest_;
};

}  // namespace bundle::minisign
