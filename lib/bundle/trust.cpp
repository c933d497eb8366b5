#include "bundle/trust.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "bundle/minisign_file.hpp"

namespace bundle {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::string_view kBlank = " \t";

std::string_view trimmed(std::string_view text) {
  const std::size_t start = text.find_first_not_of(kBlank);
  if (start == std::string_view::npos) {
    return {};
  }
  return text.substr(start, text.find_last_not_of(kBlank) - start + 1);
}

// Takes the first word off `text`.
std::string_view next_word(std::string_view& text) {
  text = trimmed(text);
  const std::string_view word = text.substr(0, text.find_first_of(kBlank));
  text = trimmed(text.substr(word.size()));
  return word;
}

Error at_line(std::size_t number, const std::string& what) {
  return {ErrorCode::kTrustInvalid, "line " + std::to_string(number) + ": " + what};
}

// The key that shares its id or its bytes with `key`. Signatures name a key by its id, and one key
// under two ids would count as two signers.
const TrustedKey* find_alike(const Trust& trust, const PublicKey& key) {
  const auto found = std::ranges::find_if(trust.keys, [&key](const TrustedKey& known) {
    return known.key.id == key.id || known.key.key == key.key;
  });
  return found == trust.keys.end() ? nullptr : &*found;
}

class TrustReader {
 public:
  Status line(std::string_view text) {
    ++number_;
    if (text.ends_with('\r')) {
      text.remove_suffix(1);
    }
    if (number_ == 1 && text.starts_with(minisign::kUntrustedPrefix)) {
      bare_label_ = base::printable(trimmed(text.substr(minisign::kUntrustedPrefix.size())));
      return base::ok();
    }
    text = trimmed(text);
    if (text.empty() || text.starts_with('#')) {
      return base::ok();
    }
    if (bare_label_) {
      return add_key(text, *bare_label_);
    }
    const std::string_view word = next_word(text);
    if (word == "threshold") {
      return set_threshold(text);
    }
    if (word == "key") {
      const std::string_view base64 = next_word(text);
      return add_key(base64, base::printable(text));
    }
    return at_line(number_, "\"" + base::printable(word, 40) +
                                "\" is not understood; \"key\" or \"threshold\" is expected");
  }

  Result<Trust> finish() && {
    if (trust_.keys.empty()) {
      return Error(ErrorCode::kTrustInvalid, "no key is listed");
    }
    if (trust_.threshold > trust_.keys.size()) {
      return Error(ErrorCode::kTrustInvalid,
                   "the threshold is " + std::to_string(trust_.threshold) + ", but only " +
                       std::to_string(trust_.keys.size()) + " keys are listed");
    }
    return std::move(trust_);
  }

 private:
  Status add_key(std::string_view base64, std::string label) {
    const auto key = parse_public_key(base64);
    if (!key) {
      return at_line(number_, key.error().what());
    }
    if (find_alike(trust_, *key) != nullptr) {
      return at_line(number_, "the key " + to_text(key->id) + " is listed twice");
    }
    if (trust_.keys.size() == (bare_label_ ? 1 : kMaxTrustedKeys)) {
      return at_line(number_, bare_label_ ? "a public key file holds one key"
                                          : "more than " + std::to_string(kMaxTrustedKeys) +
                                                " keys are listed");
    }
    trust_.keys.push_back({*key, std::move(label)});
    return base::ok();
  }

  Status set_threshold(std::string_view text) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value == 0 ||
        value > kMaxTrustedKeys) {
      return at_line(number_,
                     "a threshold is a number from 1 to " + std::to_string(kMaxTrustedKeys));
    }
    if (threshold_seen_) {
      return at_line(number_, "the threshold is given twice");
    }
    threshold_seen_ = true;
    trust_.threshold = value;
    return base::ok();
  }

  Trust trust_;
  std::size_t number_ = 0;
  bool threshold_seen_ = false;
  std::optional<std::string> bare_label_;  // set when the file is a minisign .pub file
};

// What the signatures amount to.
struct Tally {
  std::vector<TrustedKey> signers;
  std::optional<Error> first_malformed;
  std::string unfitting;  // the trusted key of the first signature that does not hold
  std::string untrusted;  // the first key that is not trusted

  void add(base::ByteView message, const NamedSignature& file, const Trust& trust) {
    const auto signature = parse_signature(file.content);
    if (!signature) {
      if (!first_malformed) {
        first_malformed = Error(signature.error()).within(base::printable(file.file_name));
      }
      return;
    }
    const auto named = std::ranges::find_if(trust.keys, [&signature](const TrustedKey& known) {
      return known.key.id == signature->key_id;
    });
    if (named == trust.keys.end()) {
      note(untrusted, signature->key_id);
    } else if (std::ranges::none_of(signers, [&named](const TrustedKey& signer) {
                 return signer.key.key == named->key.key;
               })) {
      if (verify(*signature, named->key, message)) {
        signers.push_back(*named);
      } else {
        note(unfitting, signature->key_id);
      }
    }
  }

 private:
  static void note(std::string& place, const KeyId& id) {
    if (place.empty()) {
      place = to_text(id);
    }
  }
};

Error refusal(Tally tally, const Trust& trust) {
  if (!tally.signers.empty()) {
    return {ErrorCode::kSignatureThreshold, std::to_string(tally.signers.size()) +
                                                " trusted keys have signed, " +
                                                std::to_string(trust.threshold) + " have to"};
  }
  if (!tally.unfitting.empty()) {
    return {ErrorCode::kSignatureInvalid,
            "the signature of key " + tally.unfitting +
                " does not fit: what was signed, or the signature, was altered"};
  }
  if (!tally.untrusted.empty()) {
    return {ErrorCode::kSignatureUntrusted,
            "signed by key " + tally.untrusted + ", which is not trusted here"};
  }
  return std::move(tally.first_malformed)
      .value_or(Error(ErrorCode::kSignatureMissing, "there is no signature"));
}

}  // namespace

Result<Trust> parse_trust(std::string_view file) {
  if (file.size() > kMaxTrustFileBytes) {
    return Error(ErrorCode::kTrustInvalid,
                 "the trust file is larger than " + std::to_string(kMaxTrustFileBytes) + " bytes");
  }
  TrustReader reader;
  while (!file.empty()) {
    const std::size_t end = file.find('\n');
    OU_CHECK(reader.line(file.substr(0, end)));
    file.remove_prefix(end == std::string_view::npos ? file.size() : end + 1);
  }
  return std::move(reader).finish();
}

Result<Trust> merge(const std::vector<Trust>& files) {
  Trust all;
  for (const Trust& file : files) {
    if (file.threshold == 0) {
      return Error(ErrorCode::kTrustInvalid, "a threshold of 0 would ask for no signature");
    }
    all.threshold = std::max(all.threshold, file.threshold);
    for (const TrustedKey& key : file.keys) {
      const TrustedKey* known = find_alike(all, key.key);
      if (known == nullptr) {
        all.keys.push_back(key);
      } else if (known->key != key.key) {
        return Error(ErrorCode::kTrustInvalid,
                     "the keys " + to_text(known->key.id) + " and " + to_text(key.key.id) +
                         " of two files share their id or their bytes, but are not the same");
      }
    }
  }
  if (all.keys.empty()) {
    return Error(ErrorCode::kTrustInvalid, "no key is trusted");
  }
  if (all.keys.size() > kMaxTrustedKeys || all.threshold > all.keys.size()) {
    return Error(ErrorCode::kTrustInvalid,
                 std::to_string(all.keys.size()) + " keys with a threshold of " +
                     std::to_string(all.threshold) + "; at most " +
                     std::to_string(kMaxTrustedKeys) + " keys are allowed, and no more needed");
  }
  return all;
}

Result<std::vector<TrustedKey>> verify_signatures(base::ByteView message,
                                                  const std::vector<NamedSignature>& signatures,
                                                  const Trust& trust) {
  // An empty Trust must never mean that nothing is asked for.
  if (trust.keys.empty() || trust.threshold == 0) {
    return Error(ErrorCode::kTrustInvalid, "no key is trusted");
  }
  if (signatures.size() > kMaxSignatures) {
    return Error(ErrorCode::kLimitExceeded,
                 "more than " + std::to_string(kMaxSignatures) + " signatures");
  }
  Tally tally;
  for (const NamedSignature& signature : signatures) {
    tally.add(message, signature, trust);
  }
  if (tally.signers.size() < trust.threshold) {
    return refusal(std::move(tally), trust);
  }
  return std::move(tally.signers);
}

}  // namespace bundle
