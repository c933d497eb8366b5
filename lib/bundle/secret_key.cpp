// Secret keys: making them, and minisign's key files with and without a password.
#include <sodium.h>

#include <algorithm>
#include <span>

#include "bundle/key_limits.hpp"
#include "bundle/minisign_file.hpp"
#include "bundle/signature.hpp"
#include "bundle/wipe.hpp"

namespace bundle {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::array<std::uint8_t, 2> kScrypt{'S', 'c'};
constexpr std::array<std::uint8_t, 2> kNoDerivation{0, 0};
constexpr std::array<std::uint8_t, 2> kBlake2b{'B', '2'};

// What a file may ask of the device that reads it: no more than minisign itself uses.
constexpr std::uint64_t kMaxOperations = crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_SENSITIVE;
constexpr std::uint64_t kMaxMemoryBytes = crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_SENSITIVE;
constexpr std::uint64_t kMinOperations = crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_MIN;
constexpr std::uint64_t kMinMemoryBytes = crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_MIN;

// Where the parts lie in the 158 bytes of a key file's second line.
constexpr std::size_t kSecretOffset = 54;
constexpr std::size_t kSecretBytes = 8 + 64 + 32;
constexpr std::size_t kFileBytes = kSecretOffset + kSecretBytes;
using FileBytes = std::array<std::uint8_t, kFileBytes>;
using SecretBytes = std::array<std::uint8_t, kSecretBytes>;
using Checksum = std::array<std::uint8_t, 32>;

struct Derivation {
  bool encrypted = false;
  std::array<std::uint8_t, crypto_pwhash_scryptsalsa208sha256_SALTBYTES> salt{};
  std::uint64_t operations = 0;
  std::uint64_t memory_bytes = 0;
};

Error invalid(const char* what) {
  return {ErrorCode::kKeyInvalid, what};
}

std::uint64_t little_endian(base::ByteView bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i) {
    value = (value << 8U) | bytes[i - 1];
  }
  return value;
}

void append_little_endian(base::Bytes& out, std::uint64_t value) {
  for (unsigned shift = 0; shift < 64; shift += 8) {
    out.push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

Checksum checksum_of(const KeyId& id, const std::array<std::uint8_t, 64>& key) {
  Checksum checksum{};
  crypto_generichash_state state{};
  crypto_generichash_init(&state, nullptr, 0, checksum.size());
  crypto_generichash_update(&state, minisign::kPlainAlgorithm.data(),
                            minisign::kPlainAlgorithm.size());
  crypto_generichash_update(&state, id.data(), id.size());
  crypto_generichash_update(&state, key.data(), key.size());
  crypto_generichash_final(&state, checksum.data(), checksum.size());
  sodium_memzero(&state, sizeof(state));
  return checksum;
}

// Encrypts and decrypts. \return false when there is not the memory for it
bool apply_password(SecretBytes& secret, const std::string& password, const Derivation& how) {
  SecretBytes stream{};
  const Wipe wipe(stream);
  if (crypto_pwhash_scryptsalsa208sha256(stream.data(), stream.size(), password.data(),
                                         password.size(), how.salt.data(), how.operations,
                                         static_cast<std::size_t>(how.memory_bytes)) != 0) {
    return false;
  }
  std::ranges::transform(secret, stream, secret.begin(), [](std::uint8_t a, std::uint8_t b) {
    return static_cast<std::uint8_t>(a ^ b);
  });
  return true;
}

base::Status decode_file(std::string_view file, FileBytes& bytes) {
  const auto lines = file.size() <= kMaxKeyFileBytes ? minisign::lines_of(file, 2) : std::nullopt;
  if (!lines || !lines->at(0).starts_with(minisign::kUntrustedPrefix)) {
    return invalid("a secret key file has two lines: \"untrusted comment: \" and the key");
  }
  auto decoded = minisign::decode_exactly(lines->at(1), kFileBytes);
  if (!decoded) {
    return invalid("line 2 is not the base64 of a minisign secret key");
  }
  const Wipe wipe(*decoded);
  std::ranges::copy(*decoded, bytes.begin());
  return base::ok();
}

// What stands before the secret part.
Result<Derivation> read_derivation(const FileBytes& bytes) {
  minisign::FieldReader fields(bytes);
  if (!std::ranges::equal(fields.take(2), minisign::kPlainAlgorithm)) {
    return invalid("the secret key is of an unknown kind, not Ed25519");
  }
  Derivation how;
  const auto algorithm = fields.take(2);
  how.encrypted = std::ranges::equal(algorithm, kScrypt);
  if (!how.encrypted && !std::ranges::equal(algorithm, kNoDerivation)) {
    return invalid("the secret key is encrypted in an unknown way");
  }
  if (!std::ranges::equal(fields.take(2), kBlake2b)) {
    return invalid("the secret key has a checksum of an unknown kind");
  }
  fields.read(how.salt);
  how.operations = little_endian(fields.take(8));
  how.memory_bytes = little_endian(fields.take(8));
  if (how.encrypted && (how.operations < kMinOperations || how.operations > kMaxOperations ||
                        how.memory_bytes < kMinMemoryBytes || how.memory_bytes > kMaxMemoryBytes)) {
    return invalid("the secret key asks for more or less scrypt work than minisign does");
  }
  return how;
}

// Signing with a public half that does not belong to the secret one would give the secret away.
bool halves_fit(const std::array<std::uint8_t, 64>& key) {
  std::array<std::uint8_t, crypto_sign_PUBLICKEYBYTES> derived_public{};
  std::array<std::uint8_t, crypto_sign_SECRETKEYBYTES> derived{};
  const Wipe wipe(derived);
  crypto_sign_seed_keypair(derived_public.data(), derived.data(), key.data());
  return sodium_memcmp(derived.data(), key.data(), key.size()) == 0;
}

}  // namespace

Result<bool> is_encrypted_key_file(std::string_view file) {
  FileBytes bytes{};
  const Wipe wipe(bytes);
  OU_CHECK(decode_file(file, bytes));
  OU_TRY(const auto how, read_derivation(bytes));
  return how.encrypted;
}

Result<SecretKey> SecretKey::generate() {
  if (!minisign::crypto_ready()) {
    return Error(ErrorCode::kInternal, "libsodium has no source of randomness");
  }
  SecretKey key;
  std::array<std::uint8_t, crypto_sign_PUBLICKEYBYTES> public_half{};
  crypto_sign_keypair(public_half.data(), key.key_.data());
  randombytes_buf(key.id_.data(), key.id_.size());
  return key;
}

Result<SecretKey> SecretKey::parse_file(std::string_view file,
                                        const std::optional<std::string>& password) {
  if (!minisign::crypto_ready()) {
    return Error(ErrorCode::kInternal, "libsodium cannot be used");
  }
  FileBytes bytes{};
  const Wipe wipe_bytes(bytes);
  OU_CHECK(decode_file(file, bytes));
  OU_TRY(const auto how, read_derivation(bytes));

  SecretBytes secret{};
  const Wipe wipe_secret(secret);
  std::ranges::copy(std::span(bytes).subspan(kSecretOffset), secret.begin());
  if (how.encrypted) {
    if (!password) {
      return Error(ErrorCode::kKeyPassword, "the secret key needs a password");
    }
    if (password->size() > kMaxPasswordBytes || !apply_password(secret, *password, how)) {
      return Error(ErrorCode::kKeyPassword,
                   "the password is too long, or there is too little memory to check it");
    }
  }
  SecretKey key;
  Checksum stored{};
  const Wipe wipe_stored(stored);
  minisign::FieldReader fields(secret);
  fields.read(key.id_);
  fields.read(key.key_);
  fields.read(stored);

  // minisign leaves the checksum of a key without a password at zero.
  const bool absent = !how.encrypted && sodium_is_zero(stored.data(), stored.size()) == 1;
  const auto expected = checksum_of(key.id_, key.key_);
  if (!absent && sodium_memcmp(expected.data(), stored.data(), stored.size()) != 0) {
    return how.encrypted ? Error(ErrorCode::kKeyPassword, "wrong password for the secret key")
                         : invalid("the secret key is damaged: its checksum does not fit");
  }
  if (!halves_fit(key.key_)) {
    return invalid("the secret key is damaged: its two halves do not belong together");
  }
  return key;
}

SecretKey::SecretKey(SecretKey&& other) noexcept : id_(other.id_), key_(other.key_) {
  sodium_memzero(other.key_.data(), other.key_.size());
}

SecretKey::~SecretKey() {
  sodium_memzero(key_.data(), key_.size());
}

PublicKey SecretKey::public_key() const {
  PublicKey key{.id = id_, .key = {}};
  std::copy(key_.begin() + 32, key_.end(), key.key.begin());
  return key;
}

Result<std::string> SecretKey::to_file(const std::optional<std::string>& password) const {
  if (password && password->size() > kMaxPasswordBytes) {
    return Error(ErrorCode::kKeyPassword,
                 "the password is longer than " + std::to_string(kMaxPasswordBytes) + " bytes");
  }
  SecretBytes secret{};
  const Wipe wipe_secret(secret);
  const auto checksum = checksum_of(id_, key_);
  auto end = std::ranges::copy(id_, secret.begin()).out;
  end = std::ranges::copy(key_, end).out;
  std::ranges::copy(checksum, end);

  Derivation how;
  if (password) {
    how = {.encrypted = true, .operations = kMaxOperations, .memory_bytes = kMaxMemoryBytes};
    randombytes_buf(how.salt.data(), how.salt.size());
    // A machine with less memory gets a weaker derivation, as from minisign, not none.
    while (!apply_password(secret, *password, how)) {
      how.operations /= 2;
      how.memory_bytes /= 2;
      if (how.operations < kMinOperations || how.memory_bytes < kMinMemoryBytes) {
        return Error(ErrorCode::kInternal, "too little memory to encrypt the secret key");
      }
    }
  }
  base::Bytes bytes;
  const Wipe wipe_bytes(bytes);
  bytes.reserve(kFileBytes);  // growing would leave copies behind
  const auto append = [&bytes](base::ByteView part) {
    bytes.insert(bytes.end(), part.begin(), part.end());
  };
  append(minisign::kPlainAlgorithm);
  append(how.encrypted ? kScrypt : kNoDerivation);
  append(kBlake2b);
  append(how.salt);
  append_little_endian(bytes, how.operations);
  append_little_endian(bytes, how.memory_bytes);
  append(secret);
  auto base64 = base::to_base64(bytes);
  const Wipe wipe_base64(base64);
  return std::string(minisign::kUntrustedPrefix) +
         (how.encrypted ? "minisign encrypted secret key\n" : "minisign secret key\n") + base64 +
         "\n";
}

}  // namespace bundle
