// Which keys a device trusts, and how many of them have to have signed.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "bundle/signature.hpp"

namespace bundle {

struct TrustedKey {
  PublicKey key;
  std::string label;  // what the file says beside it; may be empty
};

struct Trust {
  std::vector<TrustedKey> keys;  // distinct
  std::size_t threshold = 1;     // how many distinct keys have to have signed
};

/// Reads a trust file: lines `threshold N` and `key RW... label`, `#` comments, empty lines. A
/// minisign .pub file (a comment line and a key line) is a trust file with that one key.
/// \error ErrorCode::kTrustInvalid: no key, a key listed twice, a threshold of 0 or above the
/// number
///   of keys, anything that is not understood, with the line number
base::Result<Trust> parse_trust(std::string_view file);

/// The keys of several files as one; the highest threshold counts.
/// \error ErrorCode::kTrustInvalid
base::Result<Trust> merge(const std::vector<Trust>& files);

struct NamedSignature {
  std::string file_name;
  std::string content;
};

/// Checks signatures over raw bytes, which are not looked at in any other way.
/// \return the distinct trusted keys that signed, at least trust.threshold of them
/// \error ErrorCode::kSignatureMissing: none at all; kSignatureMalformed: not one was readable;
///   kSignatureInvalid: a trusted key is named, but does not fit the bytes: they were altered;
///   kSignatureUntrusted: only keys signed that are not trusted; kSignatureThreshold: too few;
///   kTrustInvalid: `trust` asks for nothing; kLimitExceeded: more than kMaxSignatures
base::Result<std::vector<TrustedKey>> verify_signatures(
    base::ByteView message, const std::vector<NamedSignature>& signatures, const Trust& trust);

}  // namespace bundle
