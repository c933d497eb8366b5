// Trust files, and how many keys have to have signed.
#include "bundle/trust.hpp"

#include <catch2/catch.hpp>

#include "bundle/limits.hpp"

using base::ErrorCode;
using bundle::NamedSignature;
using bundle::SecretKey;
using bundle::Trust;

namespace {

const std::string kMessage = "the bytes of a manifest";

std::string line_of(const bundle::PublicKey& key) {
  const auto file = bundle::to_public_key_file(key);
  return file.substr(file.find('\n') + 1, 56);
}

// Three keys, their signatures over kMessage, and trust in the first `trusted` of them.
struct Signers {
  std::vector<SecretKey> keys;
  std::vector<NamedSignature> signatures;

  Signers() {
    for (int i = 0; i < 3; ++i) {
      keys.push_back(SecretKey::generate().value());
      signatures.push_back({"manifest.json." + std::to_string(i) + ".minisig",
                            keys.back().sign(base::as_bytes(kMessage), "c")});
    }
  }
  [[nodiscard]] Trust trust(std::size_t trusted, std::size_t threshold) const {
    Trust out{.keys = {}, .threshold = threshold};
    for (std::size_t i = 0; i < trusted; ++i) {
      out.keys.push_back({keys.at(i).public_key(), "key " + std::to_string(i)});
    }
    return out;
  }
};

base::Result<std::vector<bundle::TrustedKey>> check(const std::vector<NamedSignature>& signatures,
                                                    const Trust& trust,
                                                    const std::string& message = kMessage) {
  return bundle::verify_signatures(base::as_bytes(message), signatures, trust);
}

ErrorCode refused(const std::vector<NamedSignature>& signatures, const Trust& trust,
                  const std::string& message = kMessage) {
  const auto signers = check(signatures, trust, message);
  REQUIRE_FALSE(signers);
  return signers.error().code();
}

ErrorCode refused(const std::string& trust_file) {
  const auto trust = bundle::parse_trust(trust_file);
  REQUIRE_FALSE(trust);
  return trust.error().code();
}

}  // namespace

TEST_CASE("verify: accepts as many distinct trusted keys as the threshold asks for") {
  const Signers three;
  CHECK(check(three.signatures, three.trust(3, 3))->size() == 3);
  CHECK(check(three.signatures, three.trust(2, 2))->size() == 2);
  const auto signers = check({three.signatures[1]}, three.trust(3, 1)).value();
  REQUIRE(signers.size() == 1);
  CHECK(signers[0].key == three.keys[1].public_key());
  CHECK(signers[0].label == "key 1");
}

TEST_CASE("verify: a key that signs twice counts once") {
  const Signers three;
  const auto again = NamedSignature{"x", three.keys[0].sign(base::as_bytes(kMessage), "another")};
  CHECK(refused({three.signatures[0], three.signatures[0], again}, three.trust(2, 2)) ==
        ErrorCode::kSignatureThreshold);
  CHECK(check({three.signatures[0], again}, three.trust(2, 1))->size() == 1);
}

TEST_CASE("verify: each way to fall short has its code") {
  const Signers three;
  const NamedSignature rubbish{"rubbish.minisig", "x"};
  CHECK(refused({}, three.trust(1, 1)) == ErrorCode::kSignatureMissing);
  CHECK(refused({rubbish, rubbish}, three.trust(1, 1)) == ErrorCode::kSignatureMalformed);
  CHECK(refused({three.signatures[2]}, three.trust(2, 1)) == ErrorCode::kSignatureUntrusted);
  CHECK(refused({rubbish, three.signatures[2]}, three.trust(2, 1)) ==
        ErrorCode::kSignatureUntrusted);
  CHECK(refused({three.signatures[0]}, three.trust(2, 1), kMessage + " ") ==
        ErrorCode::kSignatureInvalid);
  CHECK(refused({three.signatures[2], three.signatures[0]}, three.trust(2, 2)) ==
        ErrorCode::kSignatureThreshold);
}

TEST_CASE("verify: rubbish beside enough signatures does no harm, and never helps") {
  const Signers three;
  const NamedSignature rubbish{"x", "rubbish"};
  const NamedSignature stale{"y", three.keys[1].sign(base::as_bytes("older bytes"), "c")};
  CHECK(check({rubbish, stale, three.signatures[0]}, three.trust(2, 1))->size() == 1);
  CHECK(refused({rubbish, stale, three.signatures[0]}, three.trust(2, 2)) ==
        ErrorCode::kSignatureThreshold);
}

TEST_CASE("verify: an impostor under a trusted key's id is refused") {
  const Signers three;
  auto trust = three.trust(1, 1);
  trust.keys[0].key.key = three.keys[1].public_key().key;  // trusts key 1's bytes under id 0
  CHECK(refused({three.signatures[0]}, trust) == ErrorCode::kSignatureInvalid);
  CHECK(refused({three.signatures[1]}, trust) == ErrorCode::kSignatureUntrusted);
}

TEST_CASE("verify: trust that asks for nothing is refused, never fulfilled") {
  const Signers three;
  CHECK(refused(three.signatures, Trust{}) == ErrorCode::kTrustInvalid);
  CHECK(refused(three.signatures, three.trust(2, 0)) == ErrorCode::kTrustInvalid);
  CHECK(refused({}, Trust{.keys = {}, .threshold = 0}) == ErrorCode::kTrustInvalid);
}

TEST_CASE("verify: takes no more signatures than the limit") {
  const Signers three;
  const std::vector<NamedSignature> many(bundle::kMaxSignatures + 1, three.signatures[0]);
  CHECK(refused(many, three.trust(1, 1)) == ErrorCode::kLimitExceeded);
}

TEST_CASE("verify: no bit of the message can be flipped, whatever the threshold") {
  const Signers three;
  for (std::size_t bit = 0; bit < kMessage.size() * 8; ++bit) {
    std::string altered = kMessage;
    altered[bit / 8] =
        static_cast<char>(static_cast<std::uint8_t>(altered[bit / 8]) ^ (1U << (bit % 8)));
    CHECK(refused(three.signatures, three.trust(3, 1), altered) == ErrorCode::kSignatureInvalid);
  }
}

TEST_CASE("verify: the code names in the error are those of the file or key at fault") {
  const Signers three;
  const auto untrusted = check({three.signatures[2]}, three.trust(1, 1));
  CHECK(untrusted.error().message().find(bundle::to_text(three.keys[2].public_key().id)) !=
        std::string::npos);
  const auto malformed = check({{"bad\x1b.minisig", "x"}}, three.trust(1, 1));
  CHECK(malformed.error().message().find("bad\\x1b.minisig") != std::string::npos);
}

TEST_CASE("parse_trust: reads keys, labels, threshold, comments and empty lines") {
  const Signers three;
  const auto a = line_of(three.keys[0].public_key());
  const auto b = line_of(three.keys[1].public_key());
  const std::string end = GENERATE("\n", "\r\n");
  const auto trust =
      bundle::parse_trust("# our keys" + end + end + "threshold 2" + end + "  key\t" + a +
                          "  release engineering " + end + "key " + b)
          .value();
  REQUIRE(trust.keys.size() == 2);
  CHECK(trust.threshold == 2);
  CHECK(trust.keys[0].key == three.keys[0].public_key());
  CHECK(trust.keys[0].label == "release engineering");
  CHECK(trust.keys[1].label.empty());
}

TEST_CASE("parse_trust: a minisign public key file is trust in that one key") {
  const auto key = SecretKey::generate()->public_key();
  const auto trust = bundle::parse_trust(bundle::to_public_key_file(key)).value();
  REQUIRE(trust.keys.size() == 1);
  CHECK(trust.keys[0].key == key);
  CHECK(trust.threshold == 1);
  CHECK(trust.keys[0].label == "minisign public key " + bundle::to_text(key.id));
}

TEST_CASE("parse_trust: refuses one key under two ids, for it would count as two signers") {
  auto key = SecretKey::generate()->public_key();
  const auto first = line_of(key);
  key.id[0] ^= 1U;
  CHECK(refused("threshold 2\nkey " + first + "\nkey " + line_of(key) + "\n") ==
        ErrorCode::kTrustInvalid);
}

TEST_CASE("parse_trust: refuses two keys under one id") {
  const auto key = SecretKey::generate()->public_key();
  auto other = SecretKey::generate()->public_key();
  other.id = key.id;
  CHECK(refused("key " + line_of(key) + "\nkey " + line_of(other) + "\n") ==
        ErrorCode::kTrustInvalid);
}

TEST_CASE("parse_trust: refuses what it does not understand") {
  const auto key = SecretKey::generate()->public_key();
  const auto line = "key " + line_of(key) + "\n";
  const auto pub = bundle::to_public_key_file(key);
  const std::string bad = GENERATE_COPY(
      std::string(), std::string("# nothing\n"), std::string("threshold 1\n"), line + line,
      line + "threshold 0\n", line + "threshold 2\n", line + "threshold -1\n",
      line + "threshold 1x\n", line + "threshold\n", line + "threshold 18446744073709551617\n",
      "threshold 1\nthreshold 1\n" + line, line + "keys RW\n", line + "key\n", line + "key RWAA\n",
      line + "untrusted comment: x\n", line_of(key) + "\n", line + "KEY " + line_of(key),
      pub + line, pub + "threshold 1\n", pub + line_of(SecretKey::generate()->public_key()) + "\n",
      line + std::string(bundle::kMaxTrustFileBytes, '#'));
  CHECK(refused(bad) == ErrorCode::kTrustInvalid);
}

TEST_CASE("parse_trust: names the line that is wrong") {
  const auto key = "key " + line_of(SecretKey::generate()->public_key()) + "\n";
  const auto trust = bundle::parse_trust("# a\n" + key + "nonsense \x1b\n");
  REQUIRE_FALSE(trust);
  CHECK(trust.error().message().find("line 3") != std::string::npos);
}

TEST_CASE("parse_trust: holds no more keys than the limit") {
  std::string file;
  for (std::size_t i = 0; i < bundle::kMaxTrustedKeys; ++i) {
    file += "key " + line_of(SecretKey::generate()->public_key()) + "\n";
  }
  CHECK(bundle::parse_trust(file)->keys.size() == bundle::kMaxTrustedKeys);
  file += "key " + line_of(SecretKey::generate()->public_key()) + "\n";
  CHECK(refused(file) == ErrorCode::kTrustInvalid);
}

TEST_CASE("merge: keys of several files, and the highest threshold") {
  const Signers three;
  auto first = three.trust(2, 1);
  auto second = three.trust(3, 2);
  second.keys.erase(second.keys.begin());
  const auto all = bundle::merge({first, second}).value();
  CHECK(all.keys.size() == 3);
  CHECK(all.threshold == 2);
}

TEST_CASE("merge: refuses nothing, thresholds out of reach and keys that contradict each other") {
  const Signers three;
  CHECK_FALSE(bundle::merge({}));
  CHECK_FALSE(bundle::merge({Trust{}}));
  CHECK_FALSE(bundle::merge({three.trust(1, 2)}));
  CHECK_FALSE(bundle::merge({three.trust(1, 0)}));
  auto renamed = three.trust(1, 1);
  renamed.keys[0].key.id[7] ^= 1U;
  const auto merged = bundle::merge({three.trust(1, 1), renamed});
  REQUIRE_FALSE(merged);
  CHECK(merged.error().code() == ErrorCode::kTrustInvalid);
}
