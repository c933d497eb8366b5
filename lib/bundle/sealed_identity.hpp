// What a device is, sealed for its owner: only who has the secret key can read it. Anybody who has
// the public key can make one, so an export proves nothing about where it comes from.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace bundle {

inline constexpr std::size_t kMaxIdentityExportBytes = std::size_t{16} * 1024 * 1024;

/// An X25519 public key.
struct BoxPublicKey {
  std::array<std::uint8_t, 32> key;
  /// 16 hexadecimal digits, by which people tell keys apart.
  [[nodiscard]] std::string id() const;
  auto operator<=>(const BoxPublicKey&) const = default;
};

/// The one line of a NAME.pub file of `bundle-tool identity keygen`. \error ErrorCode::kKeyInvalid
base::Result<BoxPublicKey> parse_box_public_key(std::string_view file);
std::string to_box_public_key_file(const BoxPublicKey& key);

struct IdentityExport {
  std::uint64_t created_at = 0;              // seconds since 1970 UTC, by the device's clock
  std::string machine_id;                    // empty when it was not to be had
  std::map<std::string, std::string> files;  // "config.json", "system-connections/office", ...
};

/// An X25519 secret key in memory that is wiped when it goes.
class BoxSecretKey {
 public:
  /// A new random key. \error ErrorCode::kInternal without randomness
  static base::Result<BoxSecretKey> generate();
  /// \param password needed when the file is encrypted
  /// \error ErrorCode::kKeyPassword when one is needed or wrong; kKeyInvalid
  static base::Result<BoxSecretKey> parse_file(std::string_view file,
                                               const std::optional<std::string>& password);
  BoxSecretKey(BoxSecretKey&& other) noexcept;
  BoxSecretKey& operator=(BoxSecretKey&&) = delete;
  ~BoxSecretKey();

  /// The one line of a NAME.key file, encrypted (Argon2id, XSalsa20-Poly1305) if there is a
  /// password. \error ErrorCode::kInternal when there is not the memory for that
  [[nodiscard]] base::Result<std::string> to_file(const std::optional<std::string>& password) const;
  [[nodiscard]] BoxPublicKey public_key() const;

  /// What seal_identity() has sealed for this key.
  /// \error ErrorCode::kKeyInvalid when it is sealed for another key, naming both; kFileAltered
  ///   when it is damaged or no export
  [[nodiscard]] base::Result<IdentityExport> open(base::ByteView file) const;

 private:
  BoxSecretKey() = default;
  std::array<std::uint8_t, 32> key_{};
};

/// Whether the key file needs a password. \error ErrorCode::kKeyInvalid
base::Result<bool> is_encrypted_box_key_file(std::string_view file);

/// One line of text with the id of the key, then a libsodium sealed box.
/// \error ErrorCode::kKeyInvalid for a public key that seals nothing; kLimitExceeded
/// \source https://doc.libsodium.org/public-key_cryptography/sealed_boxes
base::Result<base::Bytes> seal_identity(const IdentityExport& identity, const BoxPublicKey& key);

}  // namespace bundle
