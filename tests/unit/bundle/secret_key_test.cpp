// Secret key files: with and without a password, damaged, and asking for too much.
#include <sodium.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "bundle/signature.hpp"

using base::ErrorCode;
using bundle::SecretKey;

namespace {

const std::string kFirstLine = "untrusted comment: minisign encrypted secret key\n";

base::Bytes content_of(const std::string& file) {
  const auto start = file.find('\n') + 1;
  return base::from_base64(std::string_view(file).substr(start, file.size() - start - 1)).value();
}

std::string file_of(const base::Bytes& content) {
  return kFirstLine + base::to_base64(content) + "\n";
}

void put_number(base::Bytes& content, std::size_t at, std::uint64_t value) {
  for (std::size_t i = 0; i < 8; ++i) {
    content[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

// As minisign encrypts, but with the least work that scrypt allows, so that a test is quick.
std::string lightly_encrypted(const SecretKey& key, const std::string& password) {
  auto content = content_of(key.to_file(std::nullopt).value());
  content[2] = 'S';
  content[3] = 'c';
  std::fill_n(content.begin() + 6, 32, std::uint8_t{7});
  put_number(content, 38, crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_MIN);
  put_number(content, 46, crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_MIN);
  base::Bytes stream(104);
  REQUIRE(crypto_pwhash_scryptsalsa208sha256(stream.data(), stream.size(), password.data(),
                                             password.size(), content.data() + 6,
                                             crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_MIN,
                                             crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_MIN) == 0);
  for (std::size_t i = 0; i < stream.size(); ++i) {
    content[54 + i] = static_cast<std::uint8_t>(content[54 + i] ^ stream[i]);
  }
  return file_of(content);
}

ErrorCode failure_of(const std::string& file, const std::optional<std::string>& password) {
  const auto parsed = SecretKey::parse_file(file, password);
  REQUIRE_FALSE(parsed);
  return parsed.error().code();
}

}  // namespace

TEST_CASE("secret key: survives a file without a password") {
  const auto key = SecretKey::generate().value();
  const auto file = key.to_file(std::nullopt).value();
  CHECK_FALSE(bundle::is_encrypted_key_file(file).value());
  const auto again = SecretKey::parse_file(file, std::nullopt).value();
  CHECK(again.public_key() == key.public_key());
  CHECK(again.to_file(std::nullopt).value() == file);
  CHECK(SecretKey::parse_file(file, "not needed"));
}

TEST_CASE("secret key: two keys are never the same") {
  CHECK(SecretKey::generate()->public_key() != SecretKey::generate()->public_key());
}

TEST_CASE("secret key: nothing is left where it was moved from") {
  auto key = SecretKey::generate().value();
  const auto moved = std::move(key);
  const auto left = key.public_key();  // NOLINT(bugprone-use-after-move): that is the question
  CHECK(std::ranges::all_of(left.key, [](std::uint8_t byte) { return byte == 0; }));
  CHECK(moved.public_key().key != left.key);
}

TEST_CASE("secret key: a key file of minisign -W, whose checksum is zero, is read") {
  const std::string file =
      kFirstLine +
      "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFOIzPWsEdEaUnD5Yv83"
      "fkaEmZS/G64QAFGG6OEMf7IJD0tuDBq1+T5nYDejB1Lj6x/"
      "RDLE4ovp2COFrz8CgDqUSG+YDEwTJZAAAAAAAAAAAAAAAA"
      "AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
  const auto key = SecretKey::parse_file(file, std::nullopt).value();
  CHECK(
      key.public_key() ==
      bundle::parse_public_key("RWQU4jM9awR0RpnYDejB1Lj6x/RDLE4ovp2COFrz8CgDqUSG+YDEwTJZ").value());
}

TEST_CASE("secret key: opens with its password and no other") {
  const auto key = SecretKey::generate().value();
  const auto file = lightly_encrypted(key, "correct horse");
  CHECK(bundle::is_encrypted_key_file(file).value());
  CHECK(SecretKey::parse_file(file, "correct horse")->public_key() == key.public_key());
  CHECK(failure_of(file, "correct hors") == ErrorCode::kKeyPassword);
  CHECK(failure_of(file, "") == ErrorCode::kKeyPassword);
  CHECK(failure_of(file, std::nullopt) == ErrorCode::kKeyPassword);
  CHECK(failure_of(file, std::string(100'000, 'x')) == ErrorCode::kKeyPassword);
}

TEST_CASE("secret key: no bit of an encrypted file can be flipped") {
  const auto key = SecretKey::generate().value();
  const auto good = content_of(lightly_encrypted(key, "pw"));
  // One bit in each byte: scrypt takes a while each time.
  for (std::size_t at = 0; at < good.size(); ++at) {
    auto altered = good;
    altered[at] = static_cast<std::uint8_t>(altered[at] ^ (1U << (at % 8)));
    INFO("byte " << at);
    if (at >= 38 && at < 54) {
      continue;  // the limits: tested below
    }
    CHECK_FALSE(SecretKey::parse_file(file_of(altered), "pw"));
  }
}

TEST_CASE("secret key: no bit of an unencrypted file's secret part can be flipped") {
  const auto good = content_of(SecretKey::generate()->to_file(std::nullopt).value());
  for (std::size_t bit = 54 * 8; bit < good.size() * 8; ++bit) {
    auto altered = good;
    altered[bit / 8] = static_cast<std::uint8_t>(altered[bit / 8] ^ (1U << (bit % 8)));
    INFO("bit " << bit);
    CHECK(failure_of(file_of(altered), std::nullopt) == ErrorCode::kKeyInvalid);
  }
}

TEST_CASE("secret key: halves that do not belong together are refused, checksum or not") {
  auto content = content_of(SecretKey::generate()->to_file(std::nullopt).value());
  const auto other = content_of(SecretKey::generate()->to_file(std::nullopt).value());
  std::copy(other.begin() + 54 + 8 + 32, other.begin() + 54 + 8 + 64,
            content.begin() + 54 + 8 + 32);
  std::fill(content.begin() + 54 + 8 + 64, content.end(), std::uint8_t{0});
  CHECK(failure_of(file_of(content), std::nullopt) == ErrorCode::kKeyInvalid);
}

TEST_CASE("secret key: a file cannot ask for more or less scrypt work than minisign does") {
  const auto good = content_of(lightly_encrypted(SecretKey::generate().value(), "pw"));
  const std::size_t at = GENERATE(38U, 46U);
  const std::uint64_t value =
      GENERATE(std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{32767}, std::uint64_t{1} << 31U,
               std::uint64_t{1} << 40U, std::uint64_t{1} << 63U, ~std::uint64_t{0});
  auto altered = good;
  put_number(altered, at, value);
  CHECK(failure_of(file_of(altered), "pw") == ErrorCode::kKeyInvalid);
}

TEST_CASE("secret key: refuses every other structure") {
  const auto good = SecretKey::generate()->to_file(std::nullopt).value();
  const auto content = content_of(good);
  const auto with = [&content](std::size_t at, std::uint8_t value) {
    auto copy = content;
    copy[at] = value;
    return file_of(copy);
  };
  auto shorter = content;
  shorter.resize(content.size() - 1);
  auto longer = content;
  longer.push_back(0);
  const std::string bad = GENERATE_COPY(
      std::string(), kFirstLine, good + good, good.substr(good.find('\n') + 1), "x" + good,
      good + "\n", file_of(shorter), file_of(longer), with(0, 'X'), with(1, 'D'), with(2, 'S'),
      with(3, 'c'), with(4, 'X'), with(5, '3'), kFirstLine + std::string(1'000'000, 'A'));
  CHECK(failure_of(bad, "pw") == ErrorCode::kKeyInvalid);
  CHECK_FALSE(bundle::is_encrypted_key_file(bad));
}

TEST_CASE("secret key: line ends of Windows are accepted") {
  auto file = SecretKey::generate()->to_file(std::nullopt).value();
  file.insert(file.find('\n'), "\r");
  file.insert(file.size() - 1, "\r");
  CHECK(SecretKey::parse_file(file, std::nullopt));
}
