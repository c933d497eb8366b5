// Signature files: what is accepted, and that nothing that was altered is.
#include "bundle/signature.hpp"

#include <catch2/catch.hpp>

#include "bundle/limits.hpp"

using base::ErrorCode;
using bundle::SecretKey;

namespace {

// Made with minisign 0.11 over the bytes "hi\n".
constexpr const char* kKnownKey = "RWQU4jM9awR0RpnYDejB1Lj6x/RDLE4ovp2COFrz8CgDqUSG+YDEwTJZ";
constexpr const char* kKnownSignature =
    "untrusted comment: signature from minisign secret key\n"
    "RUQU4jM9awR0Ru8AkheozI7YsW8EIrwc8x53AU2oEsmcmMEXN/o46mKLwXd0JjKeeKGUHCrcg84n0ot6RdLufhlIDdI3q/"
    "7TwQI=\n"
    "trusted comment: my comment\n"
    "BP/fUzjLqD7BCDLq+Kr3swvOM5fBsjQmo9hqQ++Zy0ZtmHgvNdGZNpZ4Z7jTnZY+D5BZAZHuQv0j2rW8nojHAQ==\n";

std::vector<std::string> lines(const std::string& file) {
  std::vector<std::string> out;
  std::size_t start = 0;
  for (std::size_t end = 0; (end = file.find('\n', start)) != std::string::npos; start = end + 1) {
    out.push_back(file.substr(start, end - start));
  }
  return out;
}

std::string joined(const std::vector<std::string>& parts, const std::string& end = "\n") {
  std::string out;
  for (const auto& part : parts) {
    out += part + end;
  }
  return out;
}

bool accepted(const std::string& file, const bundle::PublicKey& key, base::ByteView message) {
  const auto signature = bundle::parse_signature(file);
  return signature && bundle::verify(*signature, key, message);
}

const std::string kMessage = "the bytes of a manifest";

struct Signed {
  SecretKey key = SecretKey::generate().value();
  std::string file = key.sign(base::as_bytes(kMessage), "timestamp:1\tfile:manifest.json");
};

}  // namespace

TEST_CASE("signature: what was signed verifies, comment included") {
  const Signed made;
  const auto signature = bundle::parse_signature(made.file).value();
  CHECK(signature.trusted_comment == "timestamp:1\tfile:manifest.json");
  CHECK(signature.key_id == made.key.public_key().id);
  CHECK(bundle::verify(signature, made.key.public_key(), base::as_bytes(kMessage)));
  const auto empty = made.key.sign({}, "");
  CHECK(accepted(empty, made.key.public_key(), {}));
  CHECK_FALSE(accepted(empty, made.key.public_key(), base::as_bytes("x")));
}

TEST_CASE("signature: another key with the same id does not verify") {
  const Signed made;
  auto other = SecretKey::generate()->public_key();
  CHECK_FALSE(accepted(made.file, other, base::as_bytes(kMessage)));
  other.id = made.key.public_key().id;
  CHECK_FALSE(accepted(made.file, other, base::as_bytes(kMessage)));
}

TEST_CASE("signature: the right key under another id does not verify") {
  const Signed made;
  auto renamed = made.key.public_key();
  renamed.id[0] ^= 1U;
  CHECK_FALSE(accepted(made.file, renamed, base::as_bytes(kMessage)));
}

TEST_CASE("signature: no bit of the message can be flipped") {
  const Signed made;
  auto bytes = base::Bytes(kMessage.begin(), kMessage.end());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1U << (bit % 8)));
    INFO("bit " << bit);
    CHECK_FALSE(accepted(made.file, made.key.public_key(), bytes));
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1U << (bit % 8)));
  }
  CHECK(accepted(made.file, made.key.public_key(), bytes));
}

TEST_CASE("signature: no bit of the file can be flipped, the untrusted comment's text aside") {
  const Signed made;
  const std::size_t untrusted_from = std::string("untrusted comment: ").size();
  const std::size_t untrusted_to = made.file.find('\n');
  for (std::size_t bit = 0; bit < made.file.size() * 8; ++bit) {
    const std::size_t at = bit / 8;
    if (at >= untrusted_from && at < untrusted_to) {
      continue;
    }
    std::string altered = made.file;
    altered[at] = static_cast<char>(static_cast<std::uint8_t>(altered[at]) ^ (1U << (bit % 8)));
    INFO("bit " << bit % 8 << " of byte " << at);
    CHECK_FALSE(accepted(altered, made.key.public_key(), base::as_bytes(kMessage)));
  }
}

TEST_CASE("signature: no byte of the file can be left out, doubled or cut off") {
  const Signed made;
  const auto key = made.key.public_key();
  const std::size_t untrusted_from = std::string("untrusted comment: ").size();
  for (std::size_t at = 0; at < made.file.size(); ++at) {
    INFO("byte " << at);
    if (at + 1 < made.file.size()) {  // minisign too takes a last line without an end
      CHECK_FALSE(accepted(made.file.substr(0, at), key, base::as_bytes(kMessage)));
    }
    if (at < untrusted_from || (at >= made.file.find('\n') && at + 1 < made.file.size())) {
      auto shorter = made.file;
      shorter.erase(at, 1);
      CHECK_FALSE(accepted(shorter, key, base::as_bytes(kMessage)));
      auto longer = made.file;
      longer.insert(at, 1, made.file[at]);
      // A second space after "untrusted comment:" belongs to the comment.
      CHECK(accepted(longer, key, base::as_bytes(kMessage)) == (at + 1 == untrusted_from));
    }
  }
}

TEST_CASE("signature: line ends of Windows and a missing last one are accepted") {
  const Signed made;
  const auto key = made.key.public_key();
  CHECK(accepted(joined(lines(made.file), "\r\n"), key, base::as_bytes(kMessage)));
  CHECK(accepted(made.file.substr(0, made.file.size() - 1), key, base::as_bytes(kMessage)));
  CHECK_FALSE(accepted(joined(lines(made.file), "\r\r\n"), key, base::as_bytes(kMessage)));
  CHECK_FALSE(accepted(joined(lines(made.file), "\r"), key, base::as_bytes(kMessage)));
}

TEST_CASE("parse_signature: refuses every other structure") {
  const std::string whole = Signed().file;
  const auto good = lines(whole);
  const auto with = [&good](std::size_t index, const std::string& line) {
    auto copy = good;
    copy[index] = line;
    return joined(copy);
  };
  const std::string bad =
      GENERATE_COPY(std::string(), std::string("\n\n\n\n"), whole + "\n", whole + whole,
                    "\n" + whole, joined({good[0], good[1], good[2]}), with(0, "comment: x"),
                    with(0, "Untrusted comment: x"), with(0, ""), with(1, ""), with(1, good[3]),
                    with(1, good[1] + " "), with(1, " " + good[1]), with(1, good[1].substr(4)),
                    with(1, good[1] + "AAAA"), with(2, "trusted comment:x"), with(2, good[0]),
                    with(3, ""), with(3, good[1]), with(3, good[3].substr(0, good[3].size() - 2)),
                    with(3, good[3] + "="), with(2, good[2] + '\0'), with(2, good[2] + "\x1b[2J"),
                    with(2, good[2] + "\rx"), whole + std::string(bundle::kMaxSignatureBytes, ' '),
                    with(0, "untrusted comment: " + std::string(bundle::kMaxSignatureBytes, 'x')));
  const auto parsed = bundle::parse_signature(bad);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == ErrorCode::kSignatureMalformed);
}

TEST_CASE("parse_signature: refuses minisign's legacy kind and says what to do") {
  const Signed made;
  auto parts = lines(made.file);
  REQUIRE(parts[1].starts_with("RU"));
  parts[1][1] = 'W';  // "ED" becomes "Ed"
  const auto parsed = bundle::parse_signature(joined(parts));
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == ErrorCode::kSignatureMalformed);
  CHECK(parsed.error().what().find("legacy") != std::string::npos);
}

TEST_CASE("sign: a comment of several lines or without end still gives a file that is read") {
  const auto key = SecretKey::generate().value();
  const std::string comment =
      GENERATE(std::string("one\ntwo\r\nthree"), std::string("nul\0here", 8),
               std::string(100'000, 'x'), std::string("untrusted comment: \n\n\n"));
  const auto file = key.sign(base::as_bytes(kMessage), comment);
  CHECK(lines(file).size() == 4);
  CHECK(accepted(file, key.public_key(), base::as_bytes(kMessage)));
}

TEST_CASE("public key: survives its file, and its id reads as minisign shows it") {
  const auto key = SecretKey::generate()->public_key();
  const auto parts = lines(bundle::to_public_key_file(key));
  REQUIRE(parts.size() == 2);
  CHECK(parts[0] == "untrusted comment: minisign public key " + bundle::to_text(key.id));
  CHECK(bundle::parse_public_key(parts[1]).value() == key);
  CHECK(bundle::to_text({0x14, 0xE2, 0x33, 0x3D, 0x6B, 0x04, 0x74, 0x46}) == "4674046B3D33E214");
}

TEST_CASE("parse_public_key: refuses what is not exactly a key") {
  const auto text = lines(bundle::to_public_key_file(SecretKey::generate()->public_key()))[1];
  const std::string bad =
      GENERATE_COPY(std::string(), text + " ", text + "\n", text.substr(0, 52), text + "AAAA",
                    "RU" + text.substr(2), text.substr(0, 55) + "!", std::string(56, 'A'));
  const auto parsed = bundle::parse_public_key(bad);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == ErrorCode::kKeyInvalid);
}

TEST_CASE("parse_public_key: refuses keys for which anybody can make signatures") {
  // Points of small order: the neutral element, the point of order 2, and y = 0.
  base::Bytes bytes{'E', 'd', 1, 2, 3, 4, 5, 6, 7, 8};
  base::Bytes point(32, 0);
  const int which = GENERATE(0, 1, 2);
  point[0] = which == 0 ? 1 : 0;
  if (which == 1) {
    point.assign(32, 0xFF);
    point[0] = 0xEC;
    point[31] = 0x7F;
  }
  bytes.insert(bytes.end(), point.begin(), point.end());
  CHECK_FALSE(bundle::parse_public_key(base::to_base64(bytes)));
}

TEST_CASE("signature: a key and a signature that minisign made are accepted") {
  const auto key = bundle::parse_public_key(kKnownKey).value();
  CHECK(bundle::to_text(key.id) == "4674046B3D33E214");
  CHECK(bundle::parse_signature(kKnownSignature)->trusted_comment == "my comment");
  CHECK(accepted(kKnownSignature, key, base::as_bytes("hi\n")));
  CHECK_FALSE(accepted(kKnownSignature, key, base::as_bytes("hi")));
}
