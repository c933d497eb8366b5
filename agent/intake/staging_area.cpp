// A blob grows as HEX.partial and gets its name when it is whole and synced. check_layout() knows
// no such names, and without a manifest nothing here is a bundle.
#include "intake/staging_area.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/files.hpp"
#include "bundle/limits.hpp"

namespace agent::intake {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

constexpr std::size_t kDigits = 32;
constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kSyncInterval = std::uint64_t{16} * 1024 * 1024;
constexpr const char* kSuffix = ".bundle";

/// Room on the disk that a file takes now; none when it is not there.
std::uint64_t allocated(const fs::path& file) {
  struct stat status {};
  return ::lstat(file.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512
                                             : 0;
}

/// A failure of the device's own disk.
base::Status staged(base::Status status) {
  return status ? std::move(status)
                : base::Status(std::move(status).error().as(ErrorCode::kStaging));
}

Error stopped() {
  return {ErrorCode::kCancelled, "copying the bundle was stopped"};
}

base::Status make_directory(const fs::path& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, "create " + path.string());
  }
  return base::sync_directory(path.parent_path());
}

base::Status sync(int fd) {
  return ::fsync(fd) == 0 ? base::ok() : base::Status(Error::from_errno(errno, "sync a blob"));
}

/// Copies one blob. The counterpart of bundle::DirectoryChunks.
class BlobCopy {
 public:
  BlobCopy(const fs::path& blobs, const bundle::Blob& blob, base::ProgressSink& progress)
      : blob_(blob),
        extents_(bundle::chunk_extents(blob)),
        whole_(blobs / blob.digest.hex()),
        partial_(blobs / (blob.digest.hex() + ".partial")),
        progress_(progress) {}

  /// Whether the blob is there, every chunk of it. What does not hold is begun again.
  base::Result<bool> is_there(const std::stop_token& stop) {
    const auto fd = base::open_file(whole_, O_RDONLY | O_NOFOLLOW);
    if (!fd) {
      return false;
    }
    std::error_code unknown;
    const bool size_fits = fs::file_size(whole_, unknown) == blob_.size_bytes;
    OU_TRY(const auto good, size_fits ? count_good(fd->get(), stop) : base::Result<std::size_t>(0));
    if (size_fits && good == extents_.size()) {
      return true;
    }
    // Its good beginning is of use: nothing of it is read from the medium again.
    if (::rename(whole_.c_str(), partial_.c_str()) != 0) {
      return Error::from_errno(errno, "set a damaged blob aside").as(ErrorCode::kStaging);
    }
    return false;
  }

  base::Status write(bundle::ChunkProvider& chunks, const std::stop_token& stop) {
    auto fd = base::open_file(partial_, O_RDWR | O_CREAT | O_NOFOLLOW);
    if (!fd) {
      return std::move(fd).error().as(ErrorCode::kStaging);
    }
    OU_TRY(const auto good, count_good(fd->get(), stop));
    OU_CHECK(staged(cut_behind(fd->get(), good)));
    std::uint64_t unsynced = 0;
    for (std::size_t index = good; index < extents_.size(); ++index) {
      if (stop.stop_requested()) {
        return stopped();
      }
      OU_TRY(const auto chunk, chunks.read_chunk(blob_, index));
      OU_CHECK(staged(base::write_all(fd->get(), chunk)));
      progress_.advance(chunk.size());
      unsynced += chunk.size();
      if (unsynced >= kSyncInterval) {  // few dirty pages: the OS watches how long its disk takes
        OU_CHECK(staged(sync(fd->get())));
        unsynced = 0;
      }
    }
    OU_CHECK(staged(sync(fd->get())));
    if (::rename(partial_.c_str(), whole_.c_str()) != 0) {
      return Error::from_errno(errno, "name a blob").as(ErrorCode::kStaging);
    }
    return staged(base::sync_directory(whole_.parent_path()));
  }

 private:
  /// Chunks from the first on that are there and verify.
  base::Result<std::size_t> count_good(int fd, const std::stop_token& stop) {
    for (std::size_t index = 0; index < extents_.size(); ++index) {
      if (stop.stop_requested()) {
        return stopped();
      }
      base::Bytes bytes(extents_[index].length);
      const auto got = base::read_at(fd, bytes, extents_[index].offset);
      if (!got || *got != bytes.size() || base::sha256(bytes) != blob_.chunks.hashes[index]) {
        return index;
      }
      progress_.advance(bytes.size());
    }
    return extents_.size();
  }

  base::Status cut_behind(int fd, std::size_t good) {
    const auto end = good == extents_.size() ? blob_.size_bytes : extents_[good].offset;
    if (::ftruncate(fd, static_cast<off_t>(end)) != 0 ||
        ::lseek(fd, static_cast<off_t>(end), SEEK_SET) < 0) {
      return Error::from_errno(errno, "go on with a blob");
    }
    return base::ok();
  }

  const bundle::Blob& blob_;
  std::vector<bundle::ChunkExtent> extents_;
  fs::path whole_;
  fs::path partial_;
  base::ProgressSink& progress_;
};

/// The files beside the blobs, the manifest last.
base::Status copy_files(const VerifiedBundle& bundle, const fs::path& to) {
  for (const auto& [name, bytes] : bundle.files()) {
    OU_CHECK(staged(base::write_file_durably(to / name, bytes)));
  }
  const auto& signatures = bundle.authentic().signatures();
  for (std::size_t i = 0; i < bundle::kMaxSignatures; ++i) {
    const auto file = to / bundle::signature_file_name(i);
    std::error_code unknown;
    if (i < signatures.size()) {
      OU_CHECK(staged(base::write_file_durably(file, base::as_bytes(signatures[i].content))));
    } else if (fs::exists(file, unknown)) {  // of an earlier copy, from another medium
      OU_CHECK(staged(base::remove_file_durably(file)));
    }
  }
  return staged(base::write_file_durably(to / bundle::kManifestName, bundle.authentic().raw()));
}

/// Whether the files beside the blobs are those of the bundle.
bool has_files(const VerifiedBundle& bundle, const fs::path& copy) {
  const auto raw = base::read_file(copy / bundle::kManifestName, bundle::kMaxManifestBytes);
  const auto directory = base::UntrustedDirectory::open(copy);
  return raw && *raw == bundle.authentic().raw() && directory &&
         bundle::check_layout(*directory, bundle.manifest()).has_value();
}

}  // namespace

fs::path StagingArea::directory_of(const oci::Digest& bundle) const {
  return root_ / (bundle.hex().substr(0, kDigits) + kSuffix);
}

std::vector<fs::path> StagingArea::copies() const {
  std::vector<fs::path> found;
  std::error_code failed;  // no directory: no copies
  for (fs::directory_iterator it(root_, failed), end; !failed && it != end; it.increment(failed)) {
    if (it->path().extension() == kSuffix) {
      found.push_back(it->path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<fs::path> StagingArea::complete() const {
  for (auto& copy : copies()) {
    std::error_code unknown;
    if (fs::is_regular_file(copy / bundle::kManifestName, unknown)) {
      return std::move(copy);
    }
  }
  return std::nullopt;
}

std::optional<fs::path> StagingArea::any() const {
  auto whole = complete();
  auto all = copies();
  return whole || all.empty() ? std::move(whole) : std::optional(std::move(all.front()));
}

base::Room StagingArea::missing(const VerifiedBundle& bundle) const {
  const auto copy = directory_of(bundle.digest());
  base::Room room{.bytes = 4 * kBlock, .inodes = 4};  // the directories
  const auto add = [&room](std::uint64_t size, std::uint64_t present) {
    const auto needed = base::in_blocks(size, kBlock);
    room.bytes += needed > present ? needed - present : 0;
    room.inodes += present == 0 ? 1 : 0;
  };
  for (const auto& [digest, blob] : bundle.manifest().blobs) {
    const auto file = copy / "blobs/sha256" / digest.hex();
    auto partial = file;
    partial += ".partial";
    add(blob.size_bytes, std::max(allocated(file), allocated(partial)));
  }
  for (const auto& [name, bytes] : bundle.files()) {
    add(bytes.size(), allocated(copy / name));
  }
  for (const auto& signature : bundle.authentic().signatures()) {
    add(signature.content.size(), 0);
  }
  // Each of these files is written beside the old one before it replaces it.
  add(2 * bundle.authentic().raw().size(), 0);
  return room;
}

base::Room StagingArea::others(const oci::Digest& bundle) const {
  base::Room room;
  for (const auto& copy : copies()) {
    std::error_code failed;
    if (copy == directory_of(bundle)) {
      continue;
    }
    for (fs::recursive_directory_iterator it(copy, failed), end; !failed && it != end;
         it.increment(failed)) {
      room.bytes += allocated(it->path());
      room.inodes += 1;
    }
  }
  return room;
}

base::Status StagingArea::copy(const VerifiedBundle& bundle, bundle::ChunkProvider& chunks,
                               base::ProgressSink& progress, const std::stop_token& stop) const {
  const auto to = directory_of(bundle.digest());
  const auto blobs = to / "blobs/sha256";
  for (const auto& path : {root_, to, to / "blobs", blobs}) {
    OU_CHECK(staged(make_directory(path)));
  }
  std::uint64_t total = 0;
  for (const auto& [digest, blob] : bundle.manifest().blobs) {
    total += blob.size_bytes;
  }
  progress.phase("copying the bundle", total);
  bool was_whole = has_files(bundle, to);
  for (const auto& [digest, blob] : bundle.manifest().blobs) {
    BlobCopy one(blobs, blob, progress);
    OU_TRY(const bool there, one.is_there(stop));
    if (there) {
      continue;
    }
    was_whole = false;
    OU_CHECK(staged(base::remove_file_durably(to / bundle::kManifestName)));
    OU_CHECK(one.write(chunks, stop));
  }
  if (was_whole) {
    return base::ok();
  }
  OU_CHECK(staged(base::remove_file_durably(to / bundle::kManifestName)));
  OU_CHECK(copy_files(bundle, to));
  const auto directory = base::UntrustedDirectory::open(to);
  if (!directory) {
    return directory.error();
  }
  const auto whole = bundle::check_layout(*directory, bundle.manifest());
  return whole ? base::ok() : staged(whole.error());
}

base::Status StagingArea::remove(const fs::path& copy) const {
  OU_CHECK(staged(base::remove_file_durably(copy / bundle::kManifestName)));
  std::error_code failed;
  fs::remove_all(copy, failed);
  return failed ? base::Status(Error(ErrorCode::kStaging,
                                     "remove " + copy.string() + ": " + failed.message()))
                : base::ok();
}

base::Status StagingArea::remove_others(const oci::Digest& bundle) const {
  for (const auto& copy : copies()) {
    if (copy != directory_of(bundle)) {
      OU_CHECK(remove(copy));
    }
  }
  return base::ok();
}

}  // namespace agent::intake
