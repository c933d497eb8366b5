#include "bundle/trust.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/printable.hpp"
#include "bundle/limits.hpp"

namespace bundle {
namespace {

using base::Error;
using base::ErrorCode;

Error invalid(int line, const std::string& what) {
  return Error(ErrorCode::kTrustInvalid, "line " + std::to_string(line) + ": " + what);
}

std::string_view take_word(std::string_view& line) {
  const auto word = line.substr(0, line.find(' '));
  line.remove_prefix(std::min(word.size() + 1, line.size()));
  return word;
}

base::Status check(const Trust& trust) {
  std::set<PublicKey> keys;
  for (const auto& key : trust.keys) {
    if (!keys.insert(key.key).second) {
      return Error(ErrorCode::kTrustInvalid, "key " + to_text(key.key.id) + " is listed twice");
    }
  }
  if (trust.keys.empty()) {
    return Error(ErrorCode::kTrustInvalid, "no key is listed: a device would trust nobody");
  }
  if (trust.threshold == 0 || trust.threshold > trust.keys.size()) {
    return Error(ErrorCode::kTrustInvalid, "the threshold is " + std::to_string(trust.threshold) +
                                               " of " + std::to_string(trust.keys.size()) +
                                               " keys: it has to be from 1 to that");
  }
  return base::ok();
}

/// What several signatures amount to.
struct Tally {
  std::vector<TrustedKey> signers;
  std::size_t readable = 0;
  std::optional<std::string> altered_for;  // a trusted key whose signature does not fit
};

void count(const Signature& signature, const Trust& trust, base::ByteView message, Tally& tally) {
  tally.readable += 1;
  for (const auto& trusted : trust.keys) {
    if (trusted.key.id != signature.key_id) {
      continue;
    }
    if (!verify(signature, trusted.key, message)) {
      tally.altered_for = to_text(trusted.key.id);
      continue;
    }
    const bool counted = std::any_of(tally.signers.begin(), tally.signers.end(),
                                     [&](const auto& other) { return other.key == trusted.key; });
    if (!counted) {
      tally.signers.push_back(trusted);
    }
  }
}

}  // namespace

base::Result<Trust> parse_trust(std::string_view file) {
  if (file.size() > kMaxTrustFileBytes) {
    return Error(ErrorCode::kTrustInvalid,
                 "larger than " + std::to_string(kMaxTrustFileBytes) + " bytes: not a trust file");
  }
  Trust trust;
  bool threshold_given = false;
  for (int number = 1; !file.empty(); ++number) {
    auto line = file.substr(0, file.find('\n'));
    file.remove_prefix(std::min(line.size() + 1, file.size()));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.empty() || line.starts_with('#') || line.starts_with("untrusted comment:")) {
      continue;
    }
    auto rest = line;
    const auto word = take_word(rest);
    if (word == "threshold") {
      const auto [end, error] =
          std::from_chars(rest.data(), rest.data() + rest.size(), trust.threshold);
      if (threshold_given || error != std::errc() || end != rest.data() + rest.size()) {
        return invalid(number, "expected one line `threshold N`");
      }
      threshold_given = true;
      continue;
    }
    const auto text = word == "key" ? take_word(rest) : word;
    auto key = parse_public_key(text);
    if (!key) {
      return invalid(number,
                     "expected `threshold N`, `key RW... label` or a minisign public key, "
                     "not \"" +
                         base::printable(line, 60) + "\"");
    }
    if (trust.keys.size() == kMaxTrustedKeys) {
      return invalid(number, "more than " + std::to_string(kMaxTrustedKeys) + " keys");
    }
    trust.keys.push_back({*key, std::string(rest)});
  }
  OU_CHECK(check(trust));
  return trust;
}

base::Result<Trust> merge(const std::vector<Trust>& files) {
  Trust all;
  for (const auto& file : files) {
    for (const auto& key : file.keys) {
      const bool known = std::any_of(all.keys.begin(), all.keys.end(),
                                     [&](const auto& other) { return other.key == key.key; });
      if (!known) {
        all.keys.push_back(key);
      }
    }
    all.threshold = std::max(all.threshold, file.threshold);
  }
  OU_CHECK(check(all));
  return all;
}

base::Result<std::vector<TrustedKey>> verify_signatures(
    base::ByteView message, const std::vector<NamedSignature>& signatures, const Trust& trust) {
  if (signatures.empty()) {
    return Error(ErrorCode::kSignatureMissing,
                 "there is no signature: sign the bundle with `bundle-tool sign`");
  }
  Tally tally;
  std::optional<Error> malformed;
  for (const auto& [name, content] : signatures) {
    auto signature = parse_signature(content);
    if (signature) {
      count(*signature, trust, message, tally);
    } else if (!malformed) {
      malformed = std::move(signature).error().within(base::printable(name));
    }
  }
  if (tally.signers.size() >= trust.threshold) {
    return tally.signers;
  }
  if (tally.altered_for) {
    return Error(ErrorCode::kSignatureInvalid,
                 "the signature of key " + *tally.altered_for +
                     " does not fit: the manifest was altered after it was signed");
  }
  if (!tally.signers.empty()) {
    return Error(ErrorCode::kSignatureThreshold,
                 std::to_string(tally.signers.size()) + " trusted key has signed; " +
                     std::to_string(trust.threshold) + " are needed");
  }
  if (tally.readable == 0 && malformed) {
    return *malformed;
  }
  return Error(ErrorCode::kSignatureUntrusted, "signed, but by no key that this device trusts");
}

}  // namespace bundle
