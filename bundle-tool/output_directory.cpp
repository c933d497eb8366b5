#include "output_directory.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/files.hpp"
#include "names.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

Status rename_entry(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) {
    return base::ok();
  }
  const int failure = errno;
  if (failure == ENOTEMPTY || failure == EEXIST || failure == ENOTDIR) {
    return Error(ErrorCode::kAlreadyExists, to.string() + " is there already");
  }
  return Error::from_errno(failure, "rename " + from.string() + " to " + to.filename().string());
}

Status remove_tree(const fs::path& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) {
    return Error::from_errno(failure.value(), "remove " + path.string());
  }
  return base::ok();
}

/// Only a bundle is ever replaced.
Status check_replaceable(const fs::path& path, bool force) {
  std::error_code ignored;  // whatever cannot be looked at counts as not there, and rename() tells
  if (!fs::exists(fs::symlink_status(path, ignored))) {
    return base::ok();
  }
  if (!force) {
    return Error(ErrorCode::kAlreadyExists,
                 path.string() + " is there already: choose another name, or pass --force");
  }
  if (!fs::is_directory(fs::symlink_status(path, ignored)) ||
      !fs::exists(path / "manifest.json", ignored)) {
    return Error(ErrorCode::kAlreadyExists,
                 path.string() + " is there and is no bundle, so --force does not replace it");
  }
  return base::ok();
}

}  // namespace

Status check_bundle_name(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.ends_with(".bundle") || name.size() == std::string_view(".bundle").size()) {
    return Error(ErrorCode::kUsage,
                 "\"" + name + "\" must end in .bundle: devices look for such names");
  }
  if (!is_portable_file_name(name)) {
    return Error(ErrorCode::kUsage, "\"" + name +
                                        "\" is no name for a FAT medium: no control characters, "
                                        "none of <>:\"/\\|?*, no dot or space at either end, at "
                                        "most 200 bytes");
  }
  return base::ok();
}

OutputDirectory::OutputDirectory(fs::path final_path, bool force, Leftover leftover)
    : final_(std::move(final_path)),
      partial_(final_.string() + ".partial"),
      force_(force),
      leftover_(leftover) {}

OutputDirectory::OutputDirectory(OutputDirectory&& other) noexcept
    : final_(std::move(other.final_)),
      partial_(std::move(other.partial_)),
      force_(other.force_),
      leftover_(other.leftover_),
      open_(std::exchange(other.open_, false)),
      lock_(std::move(other.lock_)) {}

OutputDirectory::~OutputDirectory() {
  if (open_ && leftover_ == Leftover::kDiscard) {
    std::error_code ignored;  // the name says that it is unfinished, and the next run removes it
    fs::remove_all(partial_, ignored);
  }
}

Result<OutputDirectory> OutputDirectory::open(const fs::path& final_path, bool force,
                                              Leftover leftover) {
  OU_CHECK(check_replaceable(final_path, force));
  OutputDirectory output(final_path, force, leftover);
  if (::mkdir(output.partial_.c_str(), 0777) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, "create " + output.partial_.string());
  }
  OU_TRY(output.lock_, base::open_file(output.partial_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
                           .within("open " + output.partial_.string()));
  if (::flock(output.lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error(ErrorCode::kAlreadyExists,
                 "another bundle-tool is writing " + output.partial_.string());
  }
  if (leftover == Leftover::kDiscard) {
    std::error_code failure;
    for (const auto& entry : fs::directory_iterator(output.partial_, failure)) {
      OU_CHECK(remove_tree(entry.path()));
    }
    if (failure) {
      return Error::from_errno(failure.value(), "list " + output.partial_.string());
    }
  }
  output.open_ = true;
  return output;
}

Status OutputDirectory::commit() {
  if (::syncfs(lock_.get()) != 0) {
    return Error::from_errno(errno, "write " + partial_.string() + " to the disk");
  }
  const fs::path replaced = final_.string() + ".replaced";
  std::error_code ignored;
  const bool replacing = force_ && fs::exists(fs::symlink_status(final_, ignored));
  if (replacing) {
    OU_CHECK(check_replaceable(final_, force_));
    OU_CHECK(check_replaceable(replaced, true));  // of a run that was broken off here
    OU_CHECK(remove_tree(replaced));
    OU_CHECK(rename_entry(final_, replaced));
  }
  if (auto renamed = rename_entry(partial_, final_); !renamed) {
    if (replacing) {
      static_cast<void>(rename_entry(replaced, final_));  // as it was; the error says the rest
    }
    return renamed;
  }
  open_ = false;
  const fs::path parent = final_.has_parent_path() ? final_.parent_path() : fs::path(".");
  OU_CHECK(base::sync_directory(parent));
  return replacing ? remove_tree(replaced) : base::ok();
}

}  // namespace tool
