// bundle-tool copy: a bundle onto a mounted medium, proven to have arrived.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "console.hpp"
#include "outcome.hpp"

namespace tool {

struct CopyOptions {
  std::filesystem::path bundle;
  std::filesystem::path destination;  // the directory that the medium is mounted on
  std::vector<std::string> trust;     // empty: signatures are not verified
  bool force = false;                 // replace another bundle of the same name
};

/// Checks name, space and file system before anything is written; copies into NAME.bundle.partial,
/// verifying the source; syncs; reads everything back past the cache; renames. What an earlier run
/// has left is verified and used.
/// \error ErrorCode::kNoSpace, kNotEnoughInodes, kBlobTooLarge before anything is written;
///   kAlreadyExists: another bundle has that name; kFileAltered, kBlobMissing: the source is
///   damaged; kIo: the medium gives back other bytes than were written; with trust those of
///   open_manifest()
base::Result<Outcome> copy(const CopyOptions& options, Console& console);

}  // namespace tool
