// A content digest. Only SHA-256: it is what engines and registries use for images.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/sha256.hpp"

namespace oci {

class Digest {
 public:
  explicit Digest(const base::Sha256Hash& hash) : hash_(hash) {}

  /// \param text "sha256:" and 64 lower-case hexadecimal digits
  /// \error ErrorCode::kImageInvalid
  /// \source OCI image specification, descriptor.md, "Digests"
  static base::Result<Digest> parse(std::string_view text);
  static Digest of(base::ByteView bytes) { return Digest(base::sha256(bytes)); }

  [[nodiscard]] const base::Sha256Hash& hash() const { return hash_; }
  /// 64 lower-case hexadecimal digits.
  [[nodiscard]] std::string hex() const { return base::to_hex(hash_); }
  /// "sha256:" and hex().
  [[nodiscard]] std::string text() const { return "sha256:" + hex(); }

  auto operator<=>(const Digest&) const = default;

 private:
  base::Sha256Hash hash_;
};

}  // namespace oci
