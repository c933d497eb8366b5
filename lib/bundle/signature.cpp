#include "bundle/signature.hpp"

#include <sodium.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "bundle/limits.hpp"

namespace bundle {
namespace {

using base::Bytes;
using base::ByteView;
using base::Error;
using base::ErrorCode;

constexpr std::string_view kUntrusted = "untrusted comment: ";
constexpr std::string_view kTrusted = "trusted comment: ";
constexpr std::array<std::uint8_t, 2> kKeyAlgorithm{'E', 'd'};
constexpr std::array<std::uint8_t, 2> kPrehashed{'E', 'D'};
constexpr std::array<std::uint8_t, 2> kScrypt{'S', 'c'};
constexpr std::array<std::uint8_t, 2> kNoKdf{0, 0};
constexpr std::array<std::uint8_t, 2> kBlake2b{'B', '2'};

// Layout of a secret key file's second line, in bytes.
constexpr std::size_t kSaltOffset = 6;
constexpr std::size_t kOpsOffset = kSaltOffset + crypto_pwhash_scryptsalsa208sha256_SALTBYTES;
constexpr std::size_t kMemOffset = kOpsOffset + 8;
constexpr std::size_t kSecretOffset = kMemOffset + 8;
constexpr std::size_t kKeyIdBytes = 8;
constexpr std::size_t kSecretKeyBytes = crypto_sign_SECRETKEYBYTES;
constexpr std::size_t kChecksumBytes = 32;
constexpr std::size_t kSecretBytes = kKeyIdBytes + kSecretKeyBytes + kChecksumBytes;
constexpr std::size_t kKeyFileBytes = kSecretOffset + kSecretBytes;

constexpr std::size_t kPublicBytes = 2 + kKeyIdBytes + crypto_sign_PUBLICKEYBYTES;
constexpr std::size_t kSignatureLineBytes = 2 + kKeyIdBytes + crypto_sign_BYTES;

// What minisign uses; a file that asks for more would let a key file exhaust this machine.
constexpr std::uint64_t kOpsLimit = crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_SENSITIVE;
constexpr std::uint64_t kMemLimit = crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_SENSITIVE;

/// Bytes that are wiped when they go.
class Secret {
 public:
  explicit Secret(std::size_t size) : bytes_(size) {}
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { sodium_memzero(bytes_.data(), bytes_.size()); }
  std::uint8_t* data() { return bytes_.data(); }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }

 private:
  Bytes bytes_;
};

/// The lines of a file without their line ends; a last line without one counts too.
std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    lines.push_back(line);
  }
  return lines;
}

template <std::size_t N>
bool equal(ByteView bytes, std::size_t offset, const std::array<std::uint8_t, N>& expected) {
  return std::equal(expected.begin(), expected.end(), bytes.begin() + static_cast<long>(offset));
}

template <std::size_t N>
void copy_out(ByteView bytes, std::size_t offset, std::array<std::uint8_t, N>& out) {
  std::copy_n(bytes.begin() + static_cast<long>(offset), N, out.begin());
}

void append(Bytes& out, ByteView bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void append_little_endian(Bytes& out, std::uint64_t value) {
  for (unsigned shift = 0; shift < 64; shift += 8) {
    out.push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

std::uint64_t little_endian(ByteView bytes, std::size_t offset) {
  std::uint64_t value = 0;
  for (std::size_t i = 8; i-- > 0;) {
    value = value << 8U | bytes[offset + i];
  }
  return value;
}

/// BLAKE2b-256 of algorithm, key ID and secret key, as minisign checks a decrypted key.
std::array<std::uint8_t, kChecksumBytes> checksum(const KeyId& id,
                                                  const std::array<std::uint8_t, 64>& key) {
  std::array<std::uint8_t, kChecksumBytes> sum{};
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, sum.size());
  crypto_generichash_update(&state, kKeyAlgorithm.data(), kKeyAlgorithm.size());
  crypto_generichash_update(&state, id.data(), id.size());
  crypto_generichash_update(&state, key.data(), key.size());
  crypto_generichash_final(&state, sum.data(), sum.size());
  return sum;
}

/// Encrypts or decrypts `secret` with the scrypt stream of a password.
base::Status apply_password(Secret& secret, const std::string& password, ByteView salt,
                            std::uint64_t ops, std::uint64_t memory) {
  Secret stream(secret.size());
  if (crypto_pwhash_scryptsalsa208sha256(stream.data(), stream.size(), password.data(),
                                         password.size(), salt.data(), ops, memory) != 0) {
    return Error(ErrorCode::kInternal,
                 "not enough memory to derive a key from the password (1 GiB is needed)");
  }
  for (std::size_t i = 0; i < secret.size(); ++i) {
    secret.data()[i] = static_cast<std::uint8_t>(secret.data()[i] ^ stream.data()[i]);
  }
  return base::ok();
}

base::Result<Bytes> parse_key_file(std::string_view file) {
  const auto lines = split_lines(file);
  const auto bytes = lines.size() == 2 && lines[0].starts_with(kUntrusted)
                         ? base::from_base64(lines[1])
                         : std::nullopt;
  if (!bytes || bytes->size() != kKeyFileBytes || !equal(*bytes, 0, kKeyAlgorithm) ||
      !equal(*bytes, 4, kBlake2b) || (!equal(*bytes, 2, kScrypt) && !equal(*bytes, 2, kNoKdf))) {
    return Error(ErrorCode::kKeyInvalid, "not a minisign secret key file");
  }
  return *bytes;
}

std::array<std::uint8_t, 64> prehash(ByteView message) {
  std::array<std::uint8_t, crypto_generichash_BYTES_MAX> hash{};
  crypto_generichash(hash.data(), hash.size(), message.data(), message.size(), nullptr, 0);
  return hash;
}

Bytes global_message(const std::array<std::uint8_t, 64>& signature, std::string_view comment) {
  Bytes message(signature.begin(), signature.end());
  append(message, base::as_bytes(comment));
  return message;
}

bool ready() {
  static const bool kReady = sodium_init() >= 0;
  return kReady;
}

}  // namespace

std::string to_text(const KeyId& id) {
  Bytes reversed(id.rbegin(), id.rend());
  auto text = base::to_hex(reversed);
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return text;
}

base::Result<PublicKey> parse_public_key(std::string_view base64) {
  const auto bytes = base::from_base64(base64);
  if (!bytes || bytes->size() != kPublicBytes || !equal(*bytes, 0, kKeyAlgorithm)) {
    return Error(ErrorCode::kKeyInvalid,
                 "not a minisign public key (a line of 56 characters that begins with RW)");
  }
  PublicKey key{};
  copy_out(*bytes, 2, key.id);
  copy_out(*bytes, 2 + kKeyIdBytes, key.key);
  return key;
}

std::string to_public_key_file(const PublicKey& key) {
  Bytes bytes(kKeyAlgorithm.begin(), kKeyAlgorithm.end());
  append(bytes, key.id);
  append(bytes, key.key);
  return std::string(kUntrusted) + "minisign public key " + to_text(key.id) + "\n" +
         base::to_base64(bytes) + "\n";
}

base::Result<SecretKey> SecretKey::generate() {
  if (!ready()) {
    return Error(ErrorCode::kInternal, "this machine gives no random numbers");
  }
  SecretKey secret;
  std::array<std::uint8_t, crypto_sign_PUBLICKEYBYTES> public_key{};
  randombytes_buf(secret.id_.data(), secret.id_.size());
  crypto_sign_keypair(public_key.data(), secret.key_.data());
  return secret;
}

base::Result<SecretKey> SecretKey::parse_file(std::string_view file,
                                              const std::optional<std::string>& password) {
  OU_TRY(auto bytes, parse_key_file(file));
  const bool encrypted = equal(bytes, 2, kScrypt);
  Secret secret(kSecretBytes);
  std::copy_n(bytes.begin() + kSecretOffset, kSecretBytes, secret.data());
  sodium_memzero(bytes.data() + kSecretOffset, kSecretBytes);
  if (encrypted) {
    const auto ops = little_endian(bytes, kOpsOffset);
    const auto memory = little_endian(bytes, kMemOffset);
    if (!password) {
      return Error(ErrorCode::kKeyPassword, "the key is protected by a password; give it");
    }
    if (ops > kOpsLimit || memory > kMemLimit) {
      return Error(ErrorCode::kKeyInvalid, "the key file asks for more work than minisign does");
    }
    const ByteView all(bytes);
    OU_CHECK(apply_password(secret, *password,
                            all.subspan(kSaltOffset, crypto_pwhash_scryptsalsa208sha256_SALTBYTES),
                            ops, memory));
  }
  const ByteView plain(secret.data(), secret.size());
  SecretKey key;
  copy_out(plain, 0, key.id_);
  copy_out(plain, kKeyIdBytes, key.key_);
  std::array<std::uint8_t, kChecksumBytes> stored{};
  copy_out(plain, kKeyIdBytes + kSecretKeyBytes, stored);
  const auto expected = checksum(key.id_, key.key_);
  // minisign -W leaves the checksum of an unencrypted key at zero in some versions; an Ed25519 key
  // carries its public half, which is compared below.
  const bool sum_fits = sodium_memcmp(stored.data(), expected.data(), stored.size()) == 0 ||
                        (!encrypted && sodium_is_zero(stored.data(), stored.size()) == 1);
  std::array<std::uint8_t, crypto_sign_PUBLICKEYBYTES> derived_public{};
  Secret derived_secret(kSecretKeyBytes);
  crypto_sign_seed_keypair(derived_public.data(), derived_secret.data(), key.key_.data());
  if (!sum_fits || sodium_memcmp(derived_secret.data(), key.key_.data(), kSecretKeyBytes) != 0) {
    return encrypted ? Error(ErrorCode::kKeyPassword, "the password is wrong")
                     : Error(ErrorCode::kKeyInvalid, "the key file is damaged");
  }
  return key;
}

SecretKey::SecretKey(SecretKey&& other) noexcept : id_(other.id_), key_(other.key_) {
  sodium_memzero(other.key_.data(), other.key_.size());
}

SecretKey::~SecretKey() {
  sodium_memzero(key_.data(), key_.size());
}

base::Result<std::string> SecretKey::to_file(const std::optional<std::string>& password) const {
  Secret secret(kSecretBytes);
  const auto sum = checksum(id_, key_);
  auto* out = std::copy(id_.begin(), id_.end(), secret.data());
  out = std::copy(key_.begin(), key_.end(), out);
  std::copy(sum.begin(), sum.end(), out);

  Bytes bytes(kKeyAlgorithm.begin(), kKeyAlgorithm.end());
  append(bytes, password ? kScrypt : kNoKdf);
  append(bytes, kBlake2b);
  Bytes salt(crypto_pwhash_scryptsalsa208sha256_SALTBYTES);
  if (password) {
    randombytes_buf(salt.data(), salt.size());
    OU_CHECK(apply_password(secret, *password, salt, kOpsLimit, kMemLimit));
  }
  append(bytes, salt);
  append_little_endian(bytes, password ? kOpsLimit : 0);
  append_little_endian(bytes, password ? kMemLimit : 0);
  append(bytes, ByteView(secret.data(), secret.size()));
  auto file = std::string(kUntrusted) + "minisign " + (password ? "encrypted" : "unencrypted") +
              " secret key\n" + base::to_base64(bytes) + "\n";
  sodium_memzero(bytes.data(), bytes.size());
  return file;
}

PublicKey SecretKey::public_key() const {
  PublicKey key{.id = id_, .key = {}};
  crypto_sign_ed25519_sk_to_pk(key.key.data(), key_.data());
  return key;
}

std::string SecretKey::sign(base::ByteView message, const std::string& trusted_comment) const {
  const auto hash = prehash(message);
  std::array<std::uint8_t, crypto_sign_BYTES> signature{};
  crypto_sign_detached(signature.data(), nullptr, hash.data(), hash.size(), key_.data());
  const auto global = global_message(signature, trusted_comment);
  std::array<std::uint8_t, crypto_sign_BYTES> global_signature{};
  crypto_sign_detached(global_signature.data(), nullptr, global.data(), global.size(), key_.data());
  Bytes line(kPrehashed.begin(), kPrehashed.end());
  append(line, id_);
  append(line, signature);
  return std::string(kUntrusted) + "signature from key " + to_text(id_) + "\n" +
         base::to_base64(line) + "\n" + std::string(kTrusted) + trusted_comment + "\n" +
         base::to_base64(global_signature) + "\n";
}

base::Result<bool> is_encrypted_key_file(std::string_view file) {
  OU_TRY(auto bytes, parse_key_file(file));
  const bool encrypted = equal(bytes, 2, kScrypt);
  sodium_memzero(bytes.data(), bytes.size());
  return encrypted;
}

base::Result<Signature> parse_signature(std::string_view file) {
  const auto malformed = [](const std::string& what) {
    return Error(ErrorCode::kSignatureMalformed, "not a minisign signature: " + what);
  };
  if (file.size() > kMaxSignatureBytes) {
    return malformed("larger than " + std::to_string(kMaxSignatureBytes) + " bytes");
  }
  const auto lines = split_lines(file);
  if (lines.size() != 4 || !lines[0].starts_with(kUntrusted) || !lines[2].starts_with(kTrusted)) {
    return malformed("expected a comment, a signature, a trusted comment and its signature");
  }
  const auto signature = base::from_base64(lines[1]);
  const auto global = base::from_base64(lines[3]);
  if (!signature || signature->size() != kSignatureLineBytes || !global ||
      global->size() != crypto_sign_BYTES) {
    return malformed("a line has the wrong length or is not base64");
  }
  if (!equal(*signature, 0, kPrehashed)) {
    return malformed("only prehashed signatures are accepted (minisign 0.10 and later make them)");
  }
  Signature out{};
  out.trusted_comment = lines[2].substr(kTrusted.size());
  copy_out(*signature, 2, out.key_id);
  copy_out(*signature, 2 + kKeyIdBytes, out.signature);
  copy_out(*global, 0, out.global_signature);
  return out;
}

bool verify(const Signature& signature, const PublicKey& key, base::ByteView message) {
  const auto hash = prehash(message);
  const auto global = global_message(signature.signature, signature.trusted_comment);
  return ready() && signature.key_id == key.id &&
         crypto_sign_verify_detached(signature.signature.data(), hash.data(), hash.size(),
                                     key.key.data()) == 0 &&
         crypto_sign_verify_detached(signature.global_signature.data(), global.data(),
                                     global.size(), key.key.data()) == 0;
}

}  // namespace bundle
