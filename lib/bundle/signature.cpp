#include "bundle/signature.hpp"

#include <sodium.h>

#include <algorithm>

#include "bundle/limits.hpp"
#include "bundle/minisign_file.hpp"

namespace bundle {

using base::ByteView;
using base::Error;
using base::ErrorCode;
using base::Result;

namespace minisign {

bool crypto_ready() {
  static const bool ready = sodium_init() >= 0;
  return ready;
}

std::optional<std::vector<std::string_view>> lines_of(std::string_view text, std::size_t count) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    if (lines.size() == count) {
      return std::nullopt;
    }
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    lines.push_back(line);
  }
  if (lines.size() != count) {
    return std::nullopt;
  }
  return lines;
}

std::optional<base::Bytes> decode_exactly(std::string_view base64, std::size_t size) {
  if (base64.size() != (size + 2) / 3 * 4) {
    return std::nullopt;
  }
  auto bytes = base::from_base64(base64);
  return bytes && bytes->size() == size ? std::move(bytes) : std::nullopt;
}

}  // namespace minisign

namespace {

constexpr std::size_t kPublicKeyBytes = 2 + 8 + 32;
constexpr std::size_t kSignatureBytes = 2 + 8 + 64;

using MessageHash = std::array<std::uint8_t, crypto_generichash_BYTES_MAX>;

Error malformed(const char* what) {
  return {ErrorCode::kSignatureMalformed, what};
}

bool is_control(char c) {
  const auto byte = static_cast<std::uint8_t>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7F;
}

base::Bytes concatenate(ByteView first, ByteView second) {
  base::Bytes joined(first.size() + second.size());
  std::ranges::copy(second, std::ranges::copy(first, joined.begin()).out);
  return joined;
}

bool signed_by(const PublicKey& key, const std::array<std::uint8_t, 64>& signature,
               ByteView bytes) {
  return crypto_sign_verify_detached(signature.data(), bytes.data(), bytes.size(),
                                     key.key.data()) == 0;
}

}  // namespace

std::string to_text(const KeyId& id) {
  const base::Bytes reversed(id.rbegin(), id.rend());
  std::string text = base::to_hex(reversed);
  std::ranges::transform(text, text.begin(), [](char digit) {
    return digit >= 'a' ? static_cast<char>(digit - 'a' + 'A') : digit;
  });
  return text;
}

Result<PublicKey> parse_public_key(std::string_view base64) {
  const auto bytes = minisign::decode_exactly(base64, kPublicKeyBytes);
  if (!bytes) {
    return Error(ErrorCode::kKeyInvalid, "not the base64 of a minisign public key");
  }
  minisign::FieldReader fields(*bytes);
  if (!std::ranges::equal(fields.take(2), minisign::kPlainAlgorithm)) {
    return Error(ErrorCode::kKeyInvalid, "the public key is of an unknown kind, not Ed25519");
  }
  PublicKey key{};
  fields.read(key.id);
  fields.read(key.key);
  // Signatures can be made up for keys of small order; no generator makes such a key.
  if (!minisign::crypto_ready() || crypto_core_ed25519_is_valid_point(key.key.data()) != 1) {
    return Error(ErrorCode::kKeyInvalid, "the public key is no valid Ed25519 key");
  }
  return key;
}

std::string to_public_key_file(const PublicKey& key) {
  const auto bytes = concatenate(concatenate(minisign::kPlainAlgorithm, key.id), key.key);
  return std::string(minisign::kUntrustedPrefix) + "minisign public key " + to_text(key.id) + "\n" +
         base::to_base64(bytes) + "\n";
}

std::string SecretKey::sign(ByteView message, const std::string& trusted_comment) const {
  std::string comment = trusted_comment.substr(0, kMaxTrustedCommentBytes);
  std::ranges::replace_if(comment, is_control, ' ');

  MessageHash hash{};
  crypto_generichash(hash.data(), hash.size(), message.data(), message.size(), nullptr, 0);
  std::array<std::uint8_t, crypto_sign_BYTES> signature{};
  crypto_sign_detached(signature.data(), nullptr, hash.data(), hash.size(), key_.data());
  const auto commented = concatenate(signature, base::as_bytes(comment));
  std::array<std::uint8_t, crypto_sign_BYTES> global{};
  crypto_sign_detached(global.data(), nullptr, commented.data(), commented.size(), key_.data());

  const auto line = concatenate(concatenate(minisign::kPrehashedAlgorithm, id_), signature);
  return std::string(minisign::kUntrustedPrefix) + "signature from minisign secret key\n" +
         base::to_base64(line) + "\n" + std::string(minisign::kTrustedPrefix) + comment + "\n" +
         base::to_base64(global) + "\n";
}

Result<Signature> parse_signature(std::string_view file) {
  if (file.size() > kMaxSignatureBytes) {
    return malformed("the signature file is too large");
  }
  const auto lines = minisign::lines_of(file, 4);
  if (!lines) {
    return malformed("a signature file has four lines: comment, signature, comment, signature");
  }
  if (!lines->at(0).starts_with(minisign::kUntrustedPrefix)) {
    return malformed("line 1 does not start with \"untrusted comment: \"");
  }
  if (!lines->at(2).starts_with(minisign::kTrustedPrefix)) {
    return malformed("line 3 does not start with \"trusted comment: \"");
  }
  const auto bytes = minisign::decode_exactly(lines->at(1), kSignatureBytes);
  const auto global = minisign::decode_exactly(lines->at(3), crypto_sign_BYTES);
  if (!bytes || !global) {
    return malformed(bytes ? "line 4 is not the base64 of a signature"
                           : "line 2 is not the base64 of a signature");
  }
  minisign::FieldReader fields(*bytes);
  const auto algorithm = fields.take(2);
  if (std::ranges::equal(algorithm, minisign::kPlainAlgorithm)) {
    return malformed("the signature is of minisign's legacy kind (made with -l); sign without -l");
  }
  if (!std::ranges::equal(algorithm, minisign::kPrehashedAlgorithm)) {
    return malformed("the signature is of an unknown kind");
  }
  Signature signature{};
  fields.read(signature.key_id);
  fields.read(signature.signature);
  std::ranges::copy(*global, signature.global_signature.begin());
  signature.trusted_comment = lines->at(2).substr(minisign::kTrustedPrefix.size());
  if (std::ranges::any_of(signature.trusted_comment, is_control)) {
    return malformed("the trusted comment holds control characters");
  }
  return signature;
}

bool verify(const Signature& signature, const PublicKey& key, ByteView message) {
  if (!minisign::crypto_ready() || signature.key_id != key.id) {
    return false;
  }
  MessageHash hash{};
  crypto_generichash(hash.data(), hash.size(), message.data(), message.size(), nullptr, 0);
  return signed_by(key, signature.signature, hash) &&
         signed_by(key, signature.global_signature,
                   concatenate(signature.signature, base::as_bytes(signature.trusted_comment)));
}

}  // namespace bundle
