#include "os_survey.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/disk_collector.hpp"
#include "base/rooted_files.hpp"
#include "install/host_os.hpp"
#include "install/os_step.hpp"

namespace agent {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxVariableBytes = 64;
constexpr std::size_t kMaxBootEntries = 20'000;
constexpr std::array<const char*, 4> kProgramFolders{"/usr/bin", "/usr/sbin", "/bin", "/sbin"};

base::Result<struct statvfs> measure(const fs::path& host_root, const fs::path& path) {
  auto fd = base::open_in_root(host_root, path, O_RDONLY | O_DIRECTORY);
  if (!fd) {
    return std::move(fd).error().as(ErrorCode::kDeviceFacts);
  }
  struct statvfs room {};
  if (::fstatvfs(fd->get(), &room) != 0) {
    return Error::from_errno(errno, "measure " + path.string()).as(ErrorCode::kDeviceFacts);
  }
  return room;
}

bool has_program(const fs::path& host_root, const char* name) {
  for (const auto* folder : kProgramFolders) {
    if (base::exists_in_root(host_root, fs::path(folder) / name)) {
      return true;
    }
  }
  return false;
}

std::vector<std::string> missing_tools(const fs::path& host_root) {
  std::vector<std::string> missing;
  for (const auto* name :
       {"hostapp-update", "hostapp-update-hooks", "hostapp-update-hooks-v2", "fatrw", "flock"}) {
    if (!has_program(host_root, name)) {
      missing.emplace_back(name);
    }
  }
  if (!base::exists_in_root(host_root, "/usr/libexec/safe_reboot")) {
    missing.emplace_back("/usr/libexec/safe_reboot");
  }
  return missing;
}

base::Result<dev_t> device_of(const fs::path& host_root, const fs::path& path) {
  OU_TRY(const auto fd, base::open_in_root(host_root, path, O_RDONLY | O_DIRECTORY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return Error::from_errno(errno, "look at " + path.string());
  }
  return status.st_dev;
}

/// The OS's links to its slots are made by UUID, of which a cloned disk has a second one.
/// \source balenaos.md section 2; balenaHUP refuses it as well
void survey_slots(const fs::path& host_root, plan::OsFacts& facts) {
  const auto active = device_of(host_root, "/mnt/sysroot/active");
  const auto inactive = device_of(host_root, "/mnt/sysroot/inactive");
  if (active && inactive) {
    facts.one_slot = *active == *inactive;
    facts.other_disk = on_other_disks("/sys", host_root, *active, *inactive);
  }
}

/// The last byte of the EFI variable: behind four bytes of attributes.
bool is_secure_boot(const fs::path& host_root) {
  const auto bytes = base::read_file_in_root(
      host_root, "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
      kMaxVariableBytes);
  return bytes && bytes->size() == 5 && bytes->back() == 1;
}

base::Status survey_boot(const fs::path& host_root, plan::OsFacts& facts) {
  const fs::path boot = "/mnt/boot";
  OU_TRY(const auto room, measure(host_root, boot));
  facts.boot_free_bytes = std::uint64_t{room.f_bavail} * room.f_frsize;
  facts.boot_block_bytes = room.f_frsize;
  std::error_code failed;
  const auto root = host_root / boot.relative_path();
  for (fs::recursive_directory_iterator it(root, failed), end; !failed && it != end;
       it.increment(failed)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) {
      facts.boot_files.emplace(it->path().lexically_relative(root).string(),
                               it->file_size(ignored));
    }
    if (facts.boot_files.size() > kMaxBootEntries) {
      return Error(ErrorCode::kDeviceFacts, "the boot partition has too many files to look at");
    }
  }
  if (failed) {
    return Error(ErrorCode::kDeviceFacts, "list the boot partition: " + failed.message());
  }
  return base::ok();
}

}  // namespace

bool on_other_disks(const fs::path& sys, const fs::path& host_root, dev_t one, dev_t other) {
  base::DiskCollector below_one(sys, host_root);
  base::DiskCollector below_other(sys, host_root);
  below_one.add_device(one);
  below_other.add_device(other);
  const auto& disks = below_one.disks();
  return !disks.empty() && !below_other.disks().empty() &&
         std::none_of(disks.begin(), disks.end(),
                      [&](dev_t disk) { return below_other.disks().contains(disk); });
}

base::Result<plan::OsState> survey_os_state(const fs::path& host_root) {
  OU_TRY(const auto state, install::read_host_os(host_root));
  OU_TRY(const bool locked, install::is_hup_locked(host_root));
  return plan::OsState{
      .unconfirmed = state.unconfirmed || (state.selector && state.selector->upgrade_available),
      .other_update = locked};
}

base::Result<plan::OsFacts> survey_os(const fs::path& host_root) {
  OU_TRY(const auto state, install::read_host_os(host_root));
  plan::OsFacts facts{.version = state.running.version,
                      .meta_version = state.running.meta_version,
                      .device_type = state.running.device_type};
  facts.missing_tools = missing_tools(host_root);
  facts.secure_boot = is_secure_boot(host_root);
  facts.old_storage = base::exists_in_root(host_root, "/mnt/sysroot/active/balena/aufs");
  survey_slots(host_root, facts);
  OU_TRY(const auto slot, measure(host_root, "/mnt/sysroot/inactive"));
  // hostapp-update empties the slot first; what root may use beyond the reserve is not counted.
  facts.slot_bytes =
      (std::uint64_t{slot.f_blocks} - (slot.f_bfree - slot.f_bavail)) * slot.f_frsize;
  facts.slot_inodes = slot.f_files == 0 ? UINT64_MAX : slot.f_files;
  OU_CHECK(survey_boot(host_root, facts));
  return facts;
}

}  // namespace agent
