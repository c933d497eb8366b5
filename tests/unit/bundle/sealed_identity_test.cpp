// Exports of an identity: only the owner's key opens them, and only as they were sealed.
#include "bundle/sealed_identity.hpp"

#include <catch2/catch.hpp>

namespace {

using namespace bundle;
using base::ErrorCode;

IdentityExport example() {
  return {.created_at = 1'700'000'000,
          .machine_id = "0123abcd",
          .files = {{"config.json", R"({"uuid":"aa11"})"},
                    {"system-connections/office", std::string("psk=\0\xff", 6)}}};
}

BoxSecretKey new_key() {
  auto key = BoxSecretKey::generate();
  REQUIRE(key);
  return *std::move(key);
}

base::Bytes sealed_for(const BoxSecretKey& key, const IdentityExport& identity = example()) {
  auto sealed = seal_identity(identity, key.public_key());
  REQUIRE(sealed);
  return *std::move(sealed);
}

}  // namespace

TEST_CASE("identity export: is opened with the key that it was sealed for") {
  const auto key = new_key();
  const auto sealed = sealed_for(key);
  CHECK(base::as_text(sealed).find("aa11") == std::string_view::npos);
  const auto opened = key.open(sealed);
  REQUIRE(opened);
  CHECK(opened->created_at == 1'700'000'000);
  CHECK(opened->machine_id == "0123abcd");
  CHECK(opened->files == example().files);
}

TEST_CASE("identity export: another key is told apart by its id") {
  const auto key = new_key();
  const auto other = new_key();
  const auto opened = other.open(sealed_for(key));
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code() == ErrorCode::kKeyInvalid);
  CHECK(opened.error().message().find(key.public_key().id()) != std::string::npos);
  CHECK(opened.error().message().find(other.public_key().id()) != std::string::npos);
}

TEST_CASE("identity export: any change is found") {
  const auto key = new_key();
  const auto sealed = sealed_for(key);
  for (std::size_t at = 0; at < sealed.size(); at += 7) {
    auto altered = sealed;
    altered[at] ^= 1U;
    CAPTURE(at);
    CHECK_FALSE(key.open(altered));
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{20}, sealed.size() - 1}) {
    const auto opened = key.open(base::ByteView(sealed).first(size));
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code() == ErrorCode::kFileAltered);
  }
}

TEST_CASE("identity export: file names that lead elsewhere are refused, whoever sealed them") {
  const auto key = new_key();
  for (const auto* path :
       {"../x", "/etc/passwd", "a//b", "a/../b", "./a", "a/", "", "..", "a\nb", "a/."}) {
    auto identity = example();
    identity.files.emplace(path, "x");
    CAPTURE(path);
    const auto opened = key.open(sealed_for(key, identity));
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code() == ErrorCode::kFileAltered);
  }
  CHECK_FALSE(key.open(sealed_for(key, {.files = {{"other", "x"}}})));  // no config.json
}

TEST_CASE("identity key: is the same after being written and read, with and without a password") {
  const auto key = new_key();
  const auto sealed = sealed_for(key);
  const auto plain = key.to_file(std::nullopt);
  REQUIRE(plain);
  CHECK_FALSE(*is_encrypted_box_key_file(*plain));
  CHECK(BoxSecretKey::parse_file(*plain, std::nullopt)->open(sealed));
  CHECK(*parse_box_public_key(to_box_public_key_file(key.public_key())) == key.public_key());

  const auto encrypted = key.to_file("swordfish");
  REQUIRE(encrypted);
  CHECK(*is_encrypted_box_key_file(*encrypted));
  CHECK(BoxSecretKey::parse_file(*encrypted, "swordfish")->open(sealed));
  CHECK(BoxSecretKey::parse_file(*encrypted, "no").error().code() == ErrorCode::kKeyPassword);
  CHECK(BoxSecretKey::parse_file(*encrypted, std::nullopt).error().code() ==
        ErrorCode::kKeyPassword);
}

TEST_CASE("identity key: what is none is refused") {
  const auto key = new_key();
  const auto secret = *key.to_file(std::nullopt);
  for (const auto& file : {std::string(), std::string("untrusted comment: x\nRWQ=\n"),
                           secret.substr(0, secret.size() - 6) + "\n", secret + secret}) {
    CAPTURE(file);
    CHECK(BoxSecretKey::parse_file(file, std::nullopt).error().code() == ErrorCode::kKeyInvalid);
    CHECK(parse_box_public_key(file).error().code() == ErrorCode::kKeyInvalid);
  }
  CHECK_FALSE(parse_box_public_key(secret));
  CHECK(seal_identity(example(), BoxPublicKey{}).error().code() == ErrorCode::kKeyInvalid);
}
