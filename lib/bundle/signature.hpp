// minisign's keys and signatures: Ed25519 over the BLAKE2b-512 hash of the signed bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace bundle {

using KeyId = std::array<std::uint8_t, 8>;

inline constexpr std::size_t kMaxTrustedCommentBytes = 1024;

/// As minisign shows it: upper-case hexadecimal digits, most significant byte first. Always 16 of
/// them, where minisign leaves out zeros at the start.
std::string to_text(const KeyId& id);

struct PublicKey {
  KeyId id;
  std::array<std::uint8_t, 32> key;
  auto operator<=>(const PublicKey&) const = default;
};

/// The base64 line of a minisign public key ("RW..."). \error ErrorCode::kKeyInvalid
base::Result<PublicKey> parse_public_key(std::string_view base64);
/// The two lines of a NAME.pub file.
std::string to_public_key_file(const PublicKey& key);

/// A secret key in memory that is wiped when it goes.
class SecretKey {
 public:
  /// A new random key pair. \error ErrorCode::kInternal without randomness
  static base::Result<SecretKey> generate();
  /// Reads a minisign secret key file.
  /// \param password needed when the file is encrypted
  /// \error ErrorCode::kKeyPassword when a password is needed or wrong; kKeyInvalid, also when the
  ///   file asks for more scrypt work than minisign does
  static base::Result<SecretKey> parse_file(std::string_view file,
                                            const std::optional<std::string>& password);
  SecretKey(SecretKey&& other) noexcept;
  SecretKey& operator=(SecretKey&&) = delete;
  ~SecretKey();

  /// The two lines of a NAME.key file, encrypted with scrypt (minisign's parameters) if there is a
  /// password. \error ErrorCode::kInternal when memory for scrypt is not to be had
  [[nodiscard]] base::Result<std::string> to_file(const std::optional<std::string>& password) const;
  [[nodiscard]] PublicKey public_key() const;

  /// The four lines of a .minisig file (prehashed) for `message`.
  /// \param trusted_comment signed too; control characters become spaces, and what is longer than
  ///   kMaxTrustedCommentBytes is cut
  [[nodiscard]] std::string sign(base::ByteView message, const std::string& trusted_comment) const;

 private:
  SecretKey() = default;
  KeyId id_{};
  std::array<std::uint8_t, 64> key_{};
};

/// Whether the key file needs a password. \error ErrorCode::kKeyInvalid
base::Result<bool> is_encrypted_key_file(std::string_view file);

struct Signature {
  KeyId key_id;
  std::string trusted_comment;
  std::array<std::uint8_t, 64> signature;
  std::array<std::uint8_t, 64> global_signature;
};

/// Reads a .minisig file of at most kMaxSignatureBytes. Only the prehashed kind ("ED") is accepted;
/// every length is exact, line ends are LF or CR LF.
/// \error ErrorCode::kSignatureMalformed
base::Result<Signature> parse_signature(std::string_view file);

/// \return whether both the signature of `message` and that of the trusted comment hold
bool verify(const Signature& signature, const PublicKey& key, base::ByteView message);

}  // namespace bundle
