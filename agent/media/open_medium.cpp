// Opens a medium that was plugged in: what is on it is looked at by its policy before it is used.
#include <optional>

#include "base/log.hpp"
#include "base/printable.hpp"
#include "media/mounter.hpp"

namespace agent::media {
namespace {

using base::Error;
using base::ErrorCode;

// A medium is made for the update; this many names at its root already mean something else.
constexpr std::size_t kMaxRootEntries = 10'000;

base::Result<MountedMedium> mount_volume(Mounter& mounter, const Medium& medium,
                                         const Volume& volume) {
  OU_TRY(auto mount, mounter.mount(volume, Access::kReadOnly));
  OU_TRY(auto root, base::UntrustedDirectory::open(mount->path()));
  return MountedMedium{medium, volume, std::move(mount), std::move(root)};
}

base::Status check_root(const base::UntrustedDirectory& root) {
  auto entries = root.list(kMaxRootEntries);
  if (!entries) {
    auto error = std::move(entries).error().within("list the root of the medium");
    return error.code() == ErrorCode::kLimitExceeded
               ? std::move(error).as(ErrorCode::kMediumRefused)
               : std::move(error);
  }
  std::vector<std::string> names;
  for (auto& entry : *entries) {
    names.push_back(std::move(entry.name));
  }
  return check_boot_files(names);
}

}  // namespace

base::Result<std::vector<MountedMedium>> open_medium(Mounter& mounter, const Medium& medium,
                                                     const MediaPolicy& policy) {
  OU_TRY(const auto system_disks, mounter.system_disks());
  // Before anything is read: a disk that policy excludes as a whole is not even probed.
  if (system_disks.contains(medium.disk.number) || !policy.kinds.contains(medium.kind)) {
    return check_medium(medium, {}, system_disks, policy).error();
  }
  OU_TRY(const auto volumes, mounter.probe(medium));
  OU_TRY(const auto allowed, check_medium(medium, volumes, system_disks, policy));

  std::vector<MountedMedium> mounted;
  std::optional<Error> first_failure;
  for (const auto& volume : allowed) {
    auto one = mount_volume(mounter, medium, volume).within("use " + volume.device.name);
    if (one) {
      OU_CHECK(check_root(one->root).within(volume.device.name));
      mounted.push_back(*std::move(one));
    } else if (one.error().code() == ErrorCode::kMediumGone) {
      return std::move(one).error();
    } else {
      base::log::warning(one.error().message());
      first_failure = first_failure ? std::move(first_failure) : std::move(one).error();
    }
  }
  if (mounted.empty()) {
    return *std::move(first_failure);
  }
  return mounted;
}

}  // namespace agent::media
