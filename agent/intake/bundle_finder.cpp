// Goes by names and kinds of entries alone: nothing on the medium is opened here.
#include "intake/bundle_finder.hpp"

#include <algorithm>
#include <string_view>

#include "base/printable.hpp"
#include "bundle/authentic_manifest.hpp"

namespace agent::intake {
namespace {

using base::EntryKind;
using base::Error;
using base::ErrorCode;

constexpr std::string_view kSuffix = ".bundle";

char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// FAT keeps names in whatever case they were written.
bool is_bundle_name(std::string_view name) {
  if (name.size() <= kSuffix.size() || bundle::is_litter(name)) {
    return false;
  }
  const auto end = name.substr(name.size() - kSuffix.size());
  return std::equal(end.begin(), end.end(), kSuffix.begin(),
                    [](char a, char b) { return ascii_lower(a) == b; });
}

std::string describe(EntryKind kind) {
  switch (kind) {
    case EntryKind::kFile:
      return "is a file, but a bundle is a directory; copy it with \"bundle-tool copy\"";
    case EntryKind::kSymlink:
      return "is a symbolic link; links on a medium are not followed";
    case EntryKind::kSpecial:
      return "is a special file, not a directory";
    case EntryKind::kDirectory:
      break;
  }
  return "is a directory";
}

}  // namespace

base::Result<FoundBundles> find_bundles(const base::UntrustedDirectory& root) {
  OU_TRY(const auto entries, root.list(kMaxRootEntries).within("look for bundles"));
  FoundBundles found;
  for (const auto& entry : entries) {
    if (!is_bundle_name(entry.name)) {
      continue;
    }
    if (found.names.size() + found.refused.size() == kMaxBundles) {
      return Error(ErrorCode::kLimitExceeded, "the medium has more than " +
                                                  std::to_string(kMaxBundles) +
                                                  " entries that are named like bundles");
    }
    if (entry.kind == EntryKind::kDirectory) {
      found.names.push_back(entry.name);
    } else {
      found.refused.emplace_back(entry.name,
                                 Error(ErrorCode::kMediumUnsafeEntry,
                                       base::printable(entry.name) + " " + describe(entry.kind)));
    }
  }
  return found;
}

}  // namespace agent::intake
