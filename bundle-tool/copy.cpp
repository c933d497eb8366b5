#include "copy.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/files.hpp"
#include "base/json.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle_files.hpp"
#include "destination.hpp"
#include "file_copy.hpp"
#include "output_directory.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
namespace fs = std::filesystem;
using Files = std::vector<ListedFile>;

std::uint64_t total_bytes(const Files& files) {
  std::uint64_t total = 0;
  for (const ListedFile& file : files) {
    total += file.size_bytes;
  }
  return total;
}

bool has_right_size(const fs::path& path, const ListedFile& file) {
  std::error_code failure;  // a file that cannot be looked at is not there
  return fs::is_regular_file(fs::symlink_status(path, failure)) &&
         fs::file_size(path, failure) == file.size_bytes && !failure;
}

/// The files of `files` that `directory` does not hold yet, each of the others read in full.
Result<Files> missing_files(const fs::path& directory, const Files& files, Console& console) {
  Files candidates;
  Files missing;
  for (const ListedFile& file : files) {
    (has_right_size(directory / file.path, file) ? candidates : missing).push_back(file);
  }
  if (candidates.empty()) {
    return missing;
  }
  console.phase("checking what is on the medium already", total_bytes(candidates));
  for (const ListedFile& file : candidates) {
    const auto digest = read_back(directory / file.path, console);
    if (!digest || *digest != file.digest) {
      missing.push_back(file);
    }
  }
  console.finish();
  return missing;
}

/// Removes from an unfinished directory what does not belong into this bundle.
Status remove_strangers(const fs::path& directory, const Files& files) {
  std::set<fs::path> expected = {"blobs", "blobs/sha256"};
  for (const ListedFile& file : files) {
    expected.insert(file.path);
  }
  std::vector<fs::path> strangers;
  std::error_code failure;
  for (const auto& entry : fs::recursive_directory_iterator(directory, failure)) {
    const fs::path relative = entry.path().lexically_relative(directory);
    const bool should_be_directory = relative == "blobs" || relative == "blobs/sha256";
    if (expected.count(relative) == 0 || entry.is_symlink() ||
        entry.is_directory() != should_be_directory) {
      strangers.push_back(entry.path());
    }
  }
  for (const fs::path& stranger : strangers) {
    fs::remove_all(stranger, failure);
  }
  if (failure) {
    return Error::from_errno(failure.value(), "clear " + directory.string());
  }
  return base::ok();
}

Status sync_filesystem(const fs::path& directory) {
  OU_TRY(const base::UniqueFd fd, base::open_file(directory, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) {
    return Error::from_errno(errno, "write everything to the medium");
  }
  return base::ok();
}

Status write_files(const base::UntrustedDirectory& source, const Files& files,
                   const fs::path& directory, Console& console) {
  std::error_code failure;
  fs::create_directories(directory / "blobs" / "sha256", failure);
  if (failure) {
    return Error::from_errno(failure.value(), "create " + (directory / "blobs").string());
  }
  console.phase("copying", total_bytes(files));
  for (const ListedFile& file : files) {
    OU_CHECK(copy_file(source, file, directory, console));
  }
  console.phase("writing to the medium", 0);
  OU_CHECK(sync_filesystem(directory));
  console.phase("reading back from the medium", total_bytes(files));
  for (const ListedFile& file : files) {
    OU_TRY(const oci::Digest digest, read_back(directory / file.path, console));
    if (digest != file.digest) {
      return Error(ErrorCode::kIo, "the medium is faulty: " + file.path +
                                       " reads back differently from what was written; use another "
                                       "one");
    }
  }
  console.finish();
  return base::ok();
}

/// The manifest, checked against trust if there is some.
Result<UnverifiedManifest> open_source(const base::UntrustedDirectory& source,
                                       const CopyOptions& options) {
  if (!options.trust.empty()) {
    OU_TRY(const bundle::Trust trust, load_trust(options.trust));
    OU_TRY(const auto authentic, bundle::open_manifest(source, trust));
    OU_TRY(UnverifiedManifest manifest, read_unverified_manifest(source));
    if (manifest.digest != authentic.digest()) {
      return Error(ErrorCode::kFileAltered, "manifest.json changed while it was read");
    }
    return manifest;
  }
  return read_unverified_manifest(source);
}

bool holds_manifest(const fs::path& directory, const oci::Digest& digest) {
  const auto bytes = base::read_file(directory / bundle::kManifestName, std::uint64_t{16} << 20);
  return bytes && oci::Digest::of(*bytes) == digest;
}

Outcome done(const CopyOptions& options, const fs::path& final_path, const Destination& destination,
             std::uint64_t written, const Files& files, const Console& console) {
  Outcome outcome;
  outcome.json = base::to_canonical(base::Json{{"bundle", options.bundle.string()},
                                               {"destination", final_path.string()},
                                               {"filesystem", destination.filesystem},
                                               {"size_bytes", total_bytes(files)},
                                               {"written_bytes", written},
                                               {"verified", true},
                                               {"warnings", console.warnings()}});
  outcome.text = final_path.string() + ": " + size_text(total_bytes(files)) +
                 (written == 0 ? ", was there already and is intact\n"
                               : ", " + size_text(written) + " written and read back\n") +
                 "The medium is safe to remove once it is unmounted.\n";
  return outcome;
}

/// What is on the medium has the same manifest, but not all of it is right: it becomes an
/// unfinished directory again.
Status reopen(const fs::path& final_path) {
  const fs::path partial = final_path.string() + ".partial";
  std::error_code failure;
  fs::remove_all(partial, failure);
  if (!failure) {
    fs::rename(final_path, partial, failure);
  }
  if (failure) {
    return Error::from_errno(failure.value(), "rename " + final_path.string());
  }
  return base::ok();
}

void warn_about(const CopyOptions& options, const Destination& destination, bool signed_at_all,
                Console& console) {
  if (!destination.devices_take_it) {
    console.warning(options.destination.string() + " has a file system (" + destination.filesystem +
                    ") that devices do not take by default: use FAT, exFAT or ext4");
  }
  if (destination.is_root_filesystem) {
    console.warning(options.destination.string() +
                    " is on this computer's own disk: is the medium mounted?");
  }
  if (!signed_at_all) {
    console.warning("the bundle has no signature: no device takes it before it is signed");
  }
}

/// A copy onto itself, or into itself, would destroy what it reads.
Status check_apart(const CopyOptions& options, const fs::path& final_path) {
  std::error_code ignored;
  bool same = fs::equivalent(options.bundle, final_path, ignored);
  fs::path inside = fs::weakly_canonical(options.destination, ignored);
  for (; !same && inside.has_relative_path(); inside = inside.parent_path()) {
    same = fs::equivalent(options.bundle, inside, ignored);
  }
  if (same) {
    return Error(ErrorCode::kUsage, options.destination.string() + " is where " +
                                        options.bundle.string() +
                                        " itself is: name another destination, and to mend a "
                                        "damaged copy name an undamaged source");
  }
  return base::ok();
}

/// Whether the directory holds the bundle and nothing beside it, as a device demands.
bool is_whole(const fs::path& path, const bundle::Manifest& manifest) {
  const auto directory = base::UntrustedDirectory::open(path);
  return directory && bundle::check_layout(*directory, manifest);
}

}  // namespace

Result<Outcome> copy(const CopyOptions& options, Console& console) {
  const std::string shown = options.bundle.string();
  OU_CHECK(check_bundle_name(options.bundle));
  OU_TRY(const auto source, open_bundle(options.bundle));
  OU_TRY(const UnverifiedManifest manifest, open_source(source, options).within(shown));
  OU_TRY(const auto signatures, read_signature_files(source).within(shown));
  OU_CHECK(bundle::check_layout(source, manifest.manifest).within(shown));
  OU_TRY(const Files files, list_files(source, manifest, signatures).within(shown));
  OU_TRY(const Destination destination, survey_destination(options.destination));
  warn_about(options, destination, !signatures.empty(), console);

  const fs::path final_path = options.destination / options.bundle.filename();
  OU_CHECK(check_apart(options, final_path));
  const bool same = holds_manifest(final_path, manifest.digest);
  const fs::path present = same ? final_path : fs::path(final_path.string() + ".partial");
  OU_TRY(const Files missing, missing_files(present, files, console));
  if (same && missing.empty() && is_whole(final_path, manifest.manifest)) {
    return done(options, final_path, destination, 0, files, console);
  }
  OU_CHECK(check_fits(destination, missing));
  if (same) {
    OU_CHECK(reopen(final_path));
  }
  OU_TRY(OutputDirectory output,
         OutputDirectory::open(final_path, options.force, OutputDirectory::Leftover::kKeep));
  OU_CHECK(remove_strangers(output.path(), files));
  OU_CHECK(write_files(source, missing, output.path(), console));
  OU_CHECK(output.commit());
  OU_CHECK(sync_filesystem(options.destination));
  return done(options, final_path, destination, total_bytes(missing), files, console);
}

}  // namespace tool
