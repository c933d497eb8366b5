#include "exit_codes.hpp"

#include <array>

namespace tool {
namespace {

struct Meaning {
  ExitCode code;
  std::string_view text;
};

constexpr std::array<Meaning, 8> kMeanings = {{
    {ExitCode::kOk, "done"},
    {ExitCode::kFailed, "failed; the message says why"},
    {ExitCode::kUsage, "wrong options or arguments"},
    {ExitCode::kNotVerified, "a bundle is not what was signed, or not signed as required"},
    {ExitCode::kInput, "an input is missing, unreadable or not usable"},
    {ExitCode::kNoSpace, "not enough space or inodes at the destination"},
    {ExitCode::kExists, "the output is there already; pass --force to replace it"},
    {ExitCode::kKey, "a key is not usable, or its password is missing or wrong"},
}};

}  // namespace

ExitCode exit_code_of(base::ErrorCode code) {
  using base::ErrorCode;
  switch (code) {
    case ErrorCode::kUsage:
      return ExitCode::kUsage;
    case ErrorCode::kManifestTooLarge:
    case ErrorCode::kManifestSyntax:
    case ErrorCode::kManifestField:
    case ErrorCode::kManifestVersion:
    case ErrorCode::kSignatureMissing:
    case ErrorCode::kSignatureMalformed:
    case ErrorCode::kSignatureUntrusted:
    case ErrorCode::kSignatureInvalid:
    case ErrorCode::kSignatureThreshold:
    case ErrorCode::kBundleLayout:
    case ErrorCode::kBlobMissing:
    case ErrorCode::kBlobSize:
    case ErrorCode::kBlobAltered:
    case ErrorCode::kBlobUnlisted:
    case ErrorCode::kBlobExpansion:
    case ErrorCode::kChunkTable:
    case ErrorCode::kFileAltered:
    case ErrorCode::kMediumUnsafeEntry:
      return ExitCode::kNotVerified;
    case ErrorCode::kNotFound:
    case ErrorCode::kPermission:
    case ErrorCode::kConfigInvalid:
    case ErrorCode::kBundleNotFound:
    case ErrorCode::kBlobTooLarge:
    case ErrorCode::kLimitExceeded:
    case ErrorCode::kSourceUnsupported:
    case ErrorCode::kImageInvalid:
    case ErrorCode::kDiskImage:
    case ErrorCode::kDiskImageUnsupported:
    case ErrorCode::kDriveRefused:
    case ErrorCode::kOsImageInvalid:
    case ErrorCode::kWrongDeviceType:
    case ErrorCode::kArchitecture:
    case ErrorCode::kComposeInvalid:
    case ErrorCode::kTargetStateInvalid:
    case ErrorCode::kTrustInvalid:
    case ErrorCode::kEngineUnavailable:
      return ExitCode::kInput;
    case ErrorCode::kNoSpace:
    case ErrorCode::kNotEnoughSpace:
    case ErrorCode::kNotEnoughInodes:
      return ExitCode::kNoSpace;
    case ErrorCode::kAlreadyExists:
      return ExitCode::kExists;
    case ErrorCode::kKeyInvalid:
    case ErrorCode::kKeyPassword:
      return ExitCode::kKey;
    default:  // what a device reports has no place in a host tool
      return ExitCode::kFailed;
  }
}

std::string exit_code_table() {
  std::string table;
  for (const Meaning& meaning : kMeanings) {
    table += "  " + std::to_string(static_cast<int>(meaning.code)) + "  ";
    table += meaning.text;
    table += '\n';
  }
  return table;
}

}  // namespace tool
