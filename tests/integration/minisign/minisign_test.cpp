// minisign itself reads what we write, and we read what it writes.
#include <catch2/catch.hpp>

#include "base/files.hpp"
#include "bundle/limits.hpp"
#include "bundle/signature.hpp"
#include "bundle/trust.hpp"
#include "support/command.hpp"
#include "support/scratch.hpp"

using base::ErrorCode;
using bundle::SecretKey;

namespace {

const std::string kPassword = "pass word \xC3\xA4";

// Without the comment, in which minisign leaves out zeros at the start of the id.
std::string key_line(const std::string& public_key_file) {
  return public_key_file.substr(public_key_file.find('\n') + 1);
}

// A directory with a message, and minisign run in it.
struct Bench {
  support::Scratch scratch;
  std::string message = "{\"format\": 1}\n";

  Bench() { put("manifest.json", message); }

  void put(const std::string& name, std::string_view content) const {
    static_cast<void>(scratch.write(name, content));
  }
  [[nodiscard]] std::string get(const std::string& name) const {
    const auto bytes = base::read_file(scratch / name, 1 << 20).value();
    return std::string(base::as_text(bytes));
  }
  // minisign asks for a password twice when it makes a key, and reads it from a pipe too.
  [[nodiscard]] support::CommandOutcome minisign(const std::string& arguments,
                                                 const std::string& password = "") const {
    return support::run_command({"sh", "-c",
                                 "cd \"$WHERE\" && printf '%s\\n%s\\n' \"$PASSWORD\" \"$PASSWORD\" "
                                 "| minisign " +
                                     arguments},
                                {"WHERE=" + scratch.path().string(), "PASSWORD=" + password});
  }
  [[nodiscard]] bool minisign_accepts(const std::string& more = "-p k.pub") const {
    return minisign("-V -H -m manifest.json " + more).exit_code == 0;
  }
  [[nodiscard]] bool we_accept(const std::string& signature_name = "manifest.json.minisig",
                               const std::string& trust_name = "k.pub") const {
    const auto trust = bundle::parse_trust(get(trust_name)).value();
    return bundle::verify_signatures(base::as_bytes(message),
                                     {{signature_name, get(signature_name)}}, trust)
        .has_value();
  }
};

}  // namespace

TEST_CASE("minisign: accepts our signature with our public key, and shows our comment") {
  const Bench bench;
  const auto key = SecretKey::generate().value();
  bench.put("k.pub", bundle::to_public_key_file(key.public_key()));
  bench.put("manifest.json.minisig",
            key.sign(base::as_bytes(bench.message), "timestamp:1\tfile:manifest.json"));
  CHECK(bench.minisign_accepts());
  CHECK(bench.minisign("-V -Q -m manifest.json -p k.pub").output ==
        "timestamp:1\tfile:manifest.json\n");
  bench.put("manifest.json", bench.message + " ");
  CHECK_FALSE(bench.minisign_accepts());
}

TEST_CASE("minisign: accepts our signature whatever the comment was") {
  const Bench bench;
  const auto key = SecretKey::generate().value();
  bench.put("k.pub", bundle::to_public_key_file(key.public_key()));
  const std::string comment = GENERATE(std::string(), std::string("a\nb"), std::string("ends\r\n"),
                                       std::string(100'000, 'x'), std::string("caf\xC3\xA9"));
  bench.put("manifest.json.minisig", key.sign(base::as_bytes(bench.message), comment));
  CHECK(bench.minisign_accepts());
  CHECK(bench.we_accept());
}

TEST_CASE("minisign: its keys without a password and its signatures are read by us") {
  const Bench bench;
  REQUIRE(bench.minisign("-G -W -p k.pub -s k.key").exit_code == 0);
  REQUIRE(bench.minisign("-S -m manifest.json -s k.key -t 'a comment'").exit_code == 0);
  CHECK(bench.we_accept());
  CHECK(bundle::parse_signature(bench.get("manifest.json.minisig"))->trusted_comment ==
        "a comment");

  const auto key = SecretKey::parse_file(bench.get("k.key"), std::nullopt).value();
  CHECK(key_line(bundle::to_public_key_file(key.public_key())) == key_line(bench.get("k.pub")));
  bench.put("manifest.json.minisig", key.sign(base::as_bytes(bench.message), "ours"));
  CHECK(bench.minisign_accepts());
}

TEST_CASE("minisign: opens our key file without a password") {
  const Bench bench;
  const auto key = SecretKey::generate().value();
  bench.put("ours.key", key.to_file(std::nullopt).value());
  REQUIRE(bench.minisign("-R -s ours.key -p k.pub").exit_code == 0);
  CHECK(key_line(bench.get("k.pub")) == key_line(bundle::to_public_key_file(key.public_key())));
  REQUIRE(bench.minisign("-S -m manifest.json -s ours.key").exit_code == 0);
  CHECK(bench.we_accept());
}

TEST_CASE("minisign: its key with a password is opened by us with that password only") {
  const Bench bench;
  REQUIRE(bench.minisign("-G -p k.pub -s k.key", kPassword).exit_code == 0);
  const auto file = bench.get("k.key");
  CHECK(bundle::is_encrypted_key_file(file).value());
  const auto key = SecretKey::parse_file(file, kPassword).value();
  CHECK(key_line(bundle::to_public_key_file(key.public_key())) == key_line(bench.get("k.pub")));
  const auto wrong = SecretKey::parse_file(file, "pass word");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code() == ErrorCode::kKeyPassword);
}

TEST_CASE("minisign: opens our key with a password, and not without") {
  const Bench bench;
  const auto key = SecretKey::generate().value();
  const auto file = key.to_file(kPassword).value();
  bench.put("ours.key", file);
  bench.put("k.pub", bundle::to_public_key_file(key.public_key()));
  REQUIRE(bench.minisign("-S -m manifest.json -s ours.key", kPassword).exit_code == 0);
  CHECK(bench.minisign_accepts());
  CHECK(bench.we_accept());
  CHECK(bench.minisign("-S -x x -m manifest.json -s ours.key", "wrong").exit_code != 0);
  CHECK(SecretKey::parse_file(file, kPassword)->public_key() == key.public_key());
}

TEST_CASE("minisign: its legacy signature is refused by us") {
  const Bench bench;
  REQUIRE(bench.minisign("-G -W -p k.pub -s k.key").exit_code == 0);
  REQUIRE(bench.minisign("-S -l -m manifest.json -s k.key").exit_code == 0);
  const auto parsed = bundle::parse_signature(bench.get("manifest.json.minisig"));
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == ErrorCode::kSignatureMalformed);
}

TEST_CASE("minisign: its signatures and ours count together") {
  const Bench bench;
  REQUIRE(bench.minisign("-G -W -p k.pub -s k.key").exit_code == 0);
  REQUIRE(bench.minisign("-S -m manifest.json -s k.key").exit_code == 0);
  const auto ours = SecretKey::generate().value();
  auto trust =
      bundle::merge({bundle::parse_trust(bench.get("k.pub")).value(),
                     bundle::parse_trust(bundle::to_public_key_file(ours.public_key())).value()})
          .value();
  trust.threshold = 2;
  const bundle::NamedSignature theirs{"0", bench.get("manifest.json.minisig")};
  const bundle::NamedSignature own{"1", ours.sign(base::as_bytes(bench.message), "ours")};
  const auto both = bundle::verify_signatures(base::as_bytes(bench.message), {theirs, own}, trust);
  REQUIRE(both);
  CHECK(both->size() == 2);
  const auto twice =
      bundle::verify_signatures(base::as_bytes(bench.message), {theirs, theirs}, trust);
  REQUIRE_FALSE(twice);
  CHECK(twice.error().code() == ErrorCode::kSignatureThreshold);
}

TEST_CASE("minisign: a large message is hashed alike") {
  const Bench bench;
  const auto key = SecretKey::generate().value();
  std::string large(bundle::kMaxManifestBytes, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) {
    large[i] = static_cast<char>(i * 31 % 251);
  }
  bench.put("manifest.json", large);
  bench.put("k.pub", bundle::to_public_key_file(key.public_key()));
  bench.put("manifest.json.minisig", key.sign(base::as_bytes(large), ""));
  CHECK(bench.minisign_accepts());
}
