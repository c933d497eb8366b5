// The key files of sealed exports: one line each, "offline-updater-box-KIND:BASE64".
#include <sodium.h>

#include <algorithm>
#include <span>

#include "bundle/key_limits.hpp"
#include "bundle/minisign_file.hpp"
#include "bundle/sealed_identity.hpp"
#include "bundle/wipe.hpp"

namespace bundle {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::string_view kPublic = "offline-updater-box-public:";
constexpr std::string_view kSecret = "offline-updater-box-secret:";
constexpr std::string_view kEncrypted = "offline-updater-box-encrypted:";
constexpr std::size_t kKeyBytes = crypto_box_SECRETKEYBYTES;
constexpr std::size_t kSealedKeyBytes =
    crypto_pwhash_SALTBYTES + crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + kKeyBytes;
// Part of the format: other work is another kind of file.
constexpr unsigned long long kOperations = crypto_pwhash_OPSLIMIT_MODERATE;
constexpr std::size_t kMemoryBytes = crypto_pwhash_MEMLIMIT_MODERATE;

using KeyBytes = std::array<std::uint8_t, kKeyBytes>;

/// The bytes of a file's only line, if it begins with `kind`.
std::optional<base::Bytes> decode(std::string_view file, std::string_view kind, std::size_t size) {
  const auto lines = file.size() <= kMaxKeyFileBytes ? minisign::lines_of(file, 1) : std::nullopt;
  if (!lines || !lines->front().starts_with(kind)) {
    return std::nullopt;
  }
  return minisign::decode_exactly(lines->front().substr(kind.size()), size);
}

/// The key that a password gives. \return false when there is not the memory for it
bool derive(KeyBytes& out, const std::string& password, base::ByteView salt) {
  return crypto_pwhash(out.data(), out.size(), password.data(), password.size(), salt.data(),
                       kOperations, kMemoryBytes, crypto_pwhash_ALG_ARGON2ID13) == 0;
}

Error no_key() {
  return {ErrorCode::kKeyInvalid,
          "not a secret key of `bundle-tool identity keygen` (signing keys are of another kind)"};
}

}  // namespace

std::string BoxPublicKey::id() const {
  std::array<std::uint8_t, crypto_generichash_BYTES_MIN> hash{};
  crypto_generichash(hash.data(), hash.size(), key.data(), key.size(), nullptr, 0);
  return base::to_hex(std::span(hash).first(8));
}

Result<BoxPublicKey> parse_box_public_key(std::string_view file) {
  BoxPublicKey key{};
  const auto bytes = decode(file, kPublic, key.key.size());
  if (!bytes) {
    return Error(ErrorCode::kKeyInvalid,
                 "not a public key of `bundle-tool identity keygen` (signing keys are of another "
                 "kind)");
  }
  std::ranges::copy(*bytes, key.key.begin());
  return key;
}

std::string to_box_public_key_file(const BoxPublicKey& key) {
  return std::string(kPublic) + base::to_base64(key.key) + "\n";
}

Result<bool> is_encrypted_box_key_file(std::string_view file) {
  if (!file.starts_with(kSecret) && !file.starts_with(kEncrypted)) {
    return no_key();
  }
  return file.starts_with(kEncrypted);
}

Result<BoxSecretKey> BoxSecretKey::generate() {
  if (!minisign::crypto_ready()) {
    return Error(ErrorCode::kInternal, "libsodium has no source of randomness");
  }
  BoxSecretKey key;
  std::array<std::uint8_t, crypto_box_PUBLICKEYBYTES> public_half{};
  crypto_box_keypair(public_half.data(), key.key_.data());
  return key;
}

Result<BoxSecretKey> BoxSecretKey::parse_file(std::string_view file,
                                              const std::optional<std::string>& password) {
  if (!minisign::crypto_ready()) {
    return Error(ErrorCode::kInternal, "libsodium cannot be used");
  }
  OU_TRY(const bool encrypted, is_encrypted_box_key_file(file));
  auto bytes =
      decode(file, encrypted ? kEncrypted : kSecret, encrypted ? kSealedKeyBytes : kKeyBytes);
  if (!bytes) {
    return Error(ErrorCode::kKeyInvalid, "the secret key is damaged");
  }
  const Wipe wipe_bytes(*bytes);
  BoxSecretKey key;
  if (!encrypted) {
    std::ranges::copy(*bytes, key.key_.begin());
    return key;
  }
  if (!password) {
    return Error(ErrorCode::kKeyPassword, "the secret key needs a password");
  }
  minisign::FieldReader fields(*bytes);
  const auto salt = fields.take(crypto_pwhash_SALTBYTES);
  const auto nonce = fields.take(crypto_secretbox_NONCEBYTES);
  const auto box = fields.take(crypto_secretbox_MACBYTES + kKeyBytes);
  KeyBytes derived{};
  const Wipe wipe_derived(derived);
  if (password->size() > kMaxPasswordBytes || !derive(derived, *password, salt)) {
    return Error(ErrorCode::kKeyPassword,
                 "the password is too long, or there is too little memory to check it");
  }
  if (crypto_secretbox_open_easy(key.key_.data(), box.data(), box.size(), nonce.data(),
                                 derived.data()) != 0) {
    return Error(ErrorCode::kKeyPassword, "wrong password for the secret key, or it is damaged");
  }
  return key;
}

BoxSecretKey::BoxSecretKey(BoxSecretKey&& other) noexcept : key_(other.key_) {
  sodium_memzero(other.key_.data(), other.key_.size());
}

BoxSecretKey::~BoxSecretKey() {
  sodium_memzero(key_.data(), key_.size());
}

Result<std::string> BoxSecretKey::to_file(const std::optional<std::string>& password) const {
  if (!password) {
    auto base64 = base::to_base64(key_);
    const Wipe wipe(base64);
    return std::string(kSecret) + base64 + "\n";
  }
  std::array<std::uint8_t, kSealedKeyBytes> file{};
  const auto salt = std::span(file).first(crypto_pwhash_SALTBYTES);
  const auto nonce = std::span(file).subspan(salt.size(), crypto_secretbox_NONCEBYTES);
  const auto box = std::span(file).subspan(salt.size() + nonce.size());
  randombytes_buf(file.data(), salt.size() + nonce.size());
  KeyBytes derived{};
  const Wipe wipe(derived);
  if (password->size() > kMaxPasswordBytes || !derive(derived, *password, salt)) {
    return Error(ErrorCode::kInternal,
                 "the password is too long, or there is too little memory to encrypt the key");
  }
  crypto_secretbox_easy(box.data(), key_.data(), key_.size(), nonce.data(), derived.data());
  return std::string(kEncrypted) + base::to_base64(file) + "\n";
}

BoxPublicKey BoxSecretKey::public_key() const {
  BoxPublicKey key{};
  crypto_scalarmult_base(key.key.data(), key_.data());
  return key;
}

}  // namespace bundle
