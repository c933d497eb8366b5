// The numbers that both programs report. A number, once released, is never given another meaning;
// docs/errors.md says for each what happened and what the person at the device does about it.
#pragma once

#include <string_view>

namespace base {

enum class ErrorCode : int {
  // General
  kInternal = 1,
  kUsage = 2,
  kCancelled = 3,
  kTimeout = 4,
  kIo = 5,
  kNotFound = 6,
  kPermission = 7,
  kNoSpace = 8,
  kConfigInvalid = 9,
  kAlreadyExists = 10,

  // The bundle and what is inside it
  kBundleNotFound = 100,
  kBundleLayout = 101,
  kManifestTooLarge = 102,
  kManifestSyntax = 103,
  kManifestField = 104,
  kManifestVersion = 105,
  kSignatureMissing = 106,
  kSignatureMalformed = 107,
  kSignatureUntrusted = 108,
  kSignatureInvalid = 109,
  kSignatureThreshold = 110,
  kTrustInvalid = 111,
  kKeyInvalid = 112,
  kKeyPassword = 113,
  kBlobMissing = 120,
  kBlobSize = 121,
  kBlobAltered = 122,
  kBlobUnlisted = 123,
  kBlobExpansion = 124,
  kBlobTooLarge = 125,
  kChunkTable = 126,
  kLimitExceeded = 127,
  kFileAltered = 128,
  kSourceUnsupported = 130,
  kImageInvalid = 131,
  kDiskImage = 132,
  kDiskImageUnsupported = 133,
  kDriveRefused = 134,
  kDriveAltered = 135,
  kComposeInvalid = 140,
  kTargetStateInvalid = 141,

  // The medium
  kMediumRefused = 200,
  kMediumFilesystem = 201,
  kMediumGone = 202,
  kMediumSystemDisk = 203,
  kMediumMount = 204,
  kMediumUnsafeEntry = 205,
  kMediumTimeout = 206,

  // The plan: nothing on the device has been changed
  kWrongFleet = 300,
  kWrongDeviceType = 301,
  kDeviceNotListed = 302,
  kSequenceOld = 303,
  kOsVersion = 304,
  kSupervisorVersion = 305,
  kNotEnoughSpace = 306,
  kNotEnoughInodes = 307,
  kBundleFailedBefore = 308,
  kDeviceFacts = 309,
  kVolumeDefinition = 310,
  kArchitecture = 311,
  kUpdateInProgress = 312,
  kNothingToInstall = 313,
  kReleaseWithoutAgent = 314,
  kOsDowngrade = 315,
  kOsUnconfirmed = 316,
  kOsSlotTooSmall = 317,
  kBootPartitionFull = 318,
  kSecureBoot = 319,
  kOsUnsupported = 320,
  kSupervisorDowngrade = 321,
  kOsImageInvalid = 322,

  // Installing
  kEngine = 400,
  kEnginePull = 401,
  kEngineUnavailable = 402,
  kSupervisorSchema = 403,
  kSupervisorState = 404,
  kSupervisorApi = 405,
  kUpdateLocked = 406,
  kServiceManager = 407,
  kPortUnavailable = 408,
  kSupervisorDatabase = 409,
  kOsInstall = 410,
  kOsCheck = 411,
  kConfigJson = 412,
  kIdentityBackup = 413,
  kReboot = 414,
  kStaging = 415,

  // Confirming and going back
  kReleaseNotApplied = 500,
  kReleaseUnhealthy = 501,
  kRollbackFailed = 502,
  kInterrupted = 503,
  kOsReverted = 504,
  kIdentityLost = 505,
  kOsNotStarted = 506,

  // The record
  kJournal = 600,
  kOutcome = 601,
};

/// The name of `code` in lower-case words with dashes, as printed and as listed in docs/errors.md;
/// for instance "wrong-fleet".
std::string_view name_of(ErrorCode code);

}  // namespace base
