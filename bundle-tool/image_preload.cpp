#include "image_preload.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "preload_release.hpp"
#include "preload_target.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

/// A copy beside the image that takes its place once it is whole, and is gone otherwise.
class PartialImage {
 public:
  static Result<PartialImage> make(const fs::path& path, const image::BlockRange& original,
                                   Console& console) {
    fs::path partial = path.string() + ".partial";
    std::error_code ignored;  // what is left of a run that was interrupted
    fs::remove(partial, ignored);
    struct stat facts {};
    if (::fstat(original.fd()->get(), &facts) != 0) {
      return Error::from_errno(errno, "look at " + path.string());
    }
    OU_TRY(base::UniqueFd fd, base::open_file(partial, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW));
    PartialImage made(path, std::move(partial),
                      std::make_shared<const base::UniqueFd>(std::move(fd)));
    if (::fchown(made.fd_->get(), facts.st_uid, facts.st_gid) != 0 && ::geteuid() == 0) {
      return Error::from_errno(errno, "make " + made.partial_.string());
    }
    if (::fchmod(made.fd_->get(), facts.st_mode & 07777U) != 0) {
      return Error::from_errno(errno, "make " + made.partial_.string());
    }
    if (::ioctl(made.fd_->get(), FICLONE, original.fd()->get()) != 0) {
      console.phase("copying the image", original.size_bytes());
      OU_CHECK(image::copy_sparse(original, made.fd_, console).within("copy " + path.string()));
      console.finish();
    }
    return made;
  }
  PartialImage(PartialImage&& other) noexcept
      : path_(std::move(other.path_)),
        partial_(std::exchange(other.partial_, {})),
        fd_(std::move(other.fd_)) {}
  PartialImage& operator=(PartialImage&&) = delete;
  ~PartialImage() {
    if (!partial_.empty()) {
      std::error_code ignored;  // its name says what it is, and the next run replaces it
      fs::remove(partial_, ignored);
    }
  }

  [[nodiscard]] Result<image::OsImage> open() const {
    OU_TRY(image::ImageFile file, image::ImageFile::of(fd_));
    return image::OsImage::open(std::move(file));
  }

  Status commit() {
    if (::fsync(fd_->get()) != 0) {
      return Error::from_errno(errno, "write " + partial_.string());
    }
    if (::rename(partial_.c_str(), path_.c_str()) != 0) {
      return Error::from_errno(errno, "rename " + partial_.string());
    }
    partial_.clear();
    return base::sync_directory(path_.has_parent_path() ? path_.parent_path() : ".");
  }

 private:
  PartialImage(fs::path path, fs::path partial, image::SharedFd fd)
      : path_(std::move(path)), partial_(std::move(partial)), fd_(std::move(fd)) {}
  fs::path path_;
  fs::path partial_;
  image::SharedFd fd_;
};

/// Whether a device whose supervisor is for `device` runs images for `architecture`.
bool runs(const std::string& device, const std::string& architecture) {
  return device.empty() || device == architecture || (device == "arm64" && architecture == "arm") ||
         (device == "amd64" && architecture == "386");
}

void warn_about(const PreloadRelease& release, const PreloadTarget& target, Console& console) {
  if (target.supervisor_version.empty()) {
    console.warning(
        "the image has no supervisor that is known: apps.json is written in the form "
        "of supervisor 13 and later");
  }
  if (target.has_been_started) {
    console.warning(
        "a device has been started from this image: its supervisor may have a target "
        "already, and does not read apps.json then");
  }
  for (const image::NewImage& image : release.images) {
    if (const std::string& own = image.source->config().architecture;
        !runs(target.architecture, own)) {
      console.warning(image.label + ": the image is for " + base::printable(own) +
                      ", the device for " + base::printable(target.architecture));
    }
  }
  if (!release.release.app_id) {
    console.warning(
        "the release does not say its fleet's id, so one is made up: once such a "
        "device is online its volumes have another name; use a target state from the "
        "cloud for devices that will be");
  }
}

struct Preloaded {
  image::StoreNeed need;
  PreloadTarget target;
  std::uint64_t grown_bytes = 0;
};

/// Measures and writes. What a manifest says of a layer may be too little in rare cases: then the
/// layers are measured, and it is done again.
/// \param measure told whether to read every layer \param write starts from the image as it was
template <typename Measure, typename Write>
Status with_enough_room(const ImagePreloadOptions& options, Console& console, Preloaded& result,
                        const Measure& measure, const Write& write) {
  OU_TRY(result.need, measure(false));
  Status status = write();
  if (!status && status.error().code() == ErrorCode::kNoSpace && !options.bundle.empty()) {
    console.note("the layers take more room than the bundle says: they are measured");
    OU_TRY(result.need, measure(true));
    status = write();
  }
  return status;
}

Status preload_plain(const fs::path& path, const image::OsImage& original,
                     const PreloadRelease& release, const ImagePreloadOptions& options,
                     Console& console, Preloaded& result) {
  const auto measure = [&](bool all) {
    return measure_release(original, release, all, options.additional_bytes, console);
  };
  return with_enough_room(options, console, result, measure, [&]() -> Status {
    OU_TRY(PartialImage partial, PartialImage::make(path, original.file().whole(), console));
    OU_TRY(image::OsImage os, partial.open());
    OU_TRY(result.grown_bytes,
           write_release(os, release, result.need, path.parent_path(), console));
    console.phase("writing to the disk", 0);
    OU_CHECK(partial.commit());
    console.finish();
    return base::ok();
  });
}

/// The copy of the image inside is changed, and put into a copy of the flasher.
Status preload_flasher(const fs::path& path, const image::OsImage& original,
                       const image::InnerImage& inner, image::OsImage copy,
                       const PreloadRelease& release, const ImagePreloadOptions& options,
                       Console& console, Preloaded& result) {
  const auto measure = [&](bool again) -> Result<image::StoreNeed> {
    if (again) {
      OU_TRY(copy, image::open_inner_image(original, inner, path.parent_path(), console));
    }
    return measure_release(copy, release, again, options.additional_bytes, console);
  };
  return with_enough_room(options, console, result, measure, [&]() -> Status {
    OU_TRY(result.grown_bytes,
           write_release(copy, release, result.need, path.parent_path(), console));
    OU_TRY(PartialImage partial, PartialImage::make(path, original.file().whole(), console));
    OU_TRY(image::OsImage flasher, partial.open());
    OU_CHECK(image::put_inner_image_back(flasher, inner, copy.file(), path.parent_path(), console));
    console.phase("writing to the disk", 0);
    OU_CHECK(partial.commit());
    console.finish();
    return base::ok();
  });
}

Outcome describe(const ImagePreloadOptions& options, const PreloadRelease& release,
                 const Preloaded& preloaded, const Console& console) {
  base::Json services = base::Json::object();
  for (const bundle::Service& service : release.release.services) {
    services[service.name] = {{"image", service.image_reference}, {"id", service.image.text()}};
  }
  Outcome outcome;
  outcome.json =
      base::to_canonical(base::Json{{"image", options.image.string()},
                                    {"fleet_uuid", release.fleet_uuid},
                                    {"commit", release.release.commit},
                                    {"services", std::move(services)},
                                    {"layers_written", preloaded.need.layers},
                                    {"layers_present", preloaded.need.layers_present},
                                    {"grown_bytes", preloaded.grown_bytes},
                                    {"supervisor_version", preloaded.target.supervisor_version},
                                    {"pinned", release.pin},
                                    {"warnings", console.warnings()}});
  const std::size_t count = release.release.services.size();
  outcome.text = options.image.string() + ": release " + release.release.commit + " with " +
                 std::to_string(count) + (count == 1 ? " service" : " services") + ", " +
                 std::to_string(preloaded.need.layers) + " layers written, " +
                 std::to_string(preloaded.need.layers_present) + " were there; " +
                 (preloaded.grown_bytes == 0
                      ? "the image is as large as before\n"
                      : "data partition larger by " + size_text(preloaded.grown_bytes) + "\n");
  return outcome;
}

}  // namespace

Result<Outcome> image_preload(const ImagePreloadOptions& options, Console& console) {
  std::error_code failure;
  const fs::path path = fs::canonical(options.image, failure);
  if (failure) {
    return Error::from_errno(failure.value(), "open " + options.image.string());
  }
  const std::string shown = options.image.string();
  OU_TRY(image::ImageFile file, image::ImageFile::open_for_change(path));
  OU_TRY(const image::OsImage os, image::OsImage::open(std::move(file)).within(shown));
  OU_TRY(const PreloadRelease release, open_release(options, path.parent_path(), console));
  Preloaded preloaded;
  if (!os.flasher()) {
    OU_TRY(preloaded.target, look_at_target(os).within(shown));
    warn_about(release, preloaded.target, console);
    OU_CHECK(preload_plain(path, os, release, options, console, preloaded).within(shown));
    return describe(options, release, preloaded, console);
  }
  OU_TRY(const image::InnerImage inner, image::find_inner_image(os).within(shown));
  if (inner.signed_for_secure_boot) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 shown +
                     ": the image inside is signed for secure boot and must not be changed: "
                     "carry the applications in a bundle instead");
  }
  OU_TRY(image::OsImage copy,
         image::open_inner_image(os, inner, path.parent_path(), console).within(shown));
  OU_TRY(preloaded.target, look_at_target(copy).within(shown));
  warn_about(release, preloaded.target, console);
  OU_CHECK(preload_flasher(path, os, inner, std::move(copy), release, options, console, preloaded)
               .within(shown));
  return describe(options, release, preloaded, console);
}

}  // namespace tool
