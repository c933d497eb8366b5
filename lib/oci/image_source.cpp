#include "oci/image_source.hpp"

#include "base/printable.hpp"
#include "oci/stored_image.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;
using Opened = base::Result<std::unique_ptr<ImageSource>>;

struct NamePair {
  std::string path;
  std::string rest;  // behind the first colon; may be empty
};

base::Result<NamePair> split_at_colon(const std::string& text) {
  const std::size_t colon = text.find(':');
  NamePair pair{text.substr(0, colon), colon == std::string::npos ? "" : text.substr(colon + 1)};
  if (pair.path.empty()) {
    return Error(ErrorCode::kSourceUnsupported,
                 "the file or directory is missing after the prefix");
  }
  if (colon != std::string::npos && pair.rest.empty()) {
    return Error(ErrorCode::kSourceUnsupported,
                 "nothing follows the last colon; leave it out, or append the image's name");
  }
  return pair;
}

Opened open_archive(const NamePair& name, const std::filesystem::path& scratch,
                    const std::string* platform) {
  OU_TRY(const SharedFd archive, open_plain_archive(name.path, scratch).within(name.path));
  OU_TRY(std::shared_ptr<const NamedFiles> files, open_tar_files(archive).within(name.path));
  return platform == nullptr ? open_docker_archive(std::move(files), name.rest)
                             : open_oci_layout(std::move(files), name.rest, *platform);
}

Opened open_layout(const NamePair& name, const std::string& platform) {
  OU_TRY(std::shared_ptr<const NamedFiles> files, open_directory_files(name.path));
  return open_oci_layout(std::move(files), name.rest, platform);
}

}  // namespace

base::Result<std::unique_ptr<ImageSource>> open_image_source(
    const std::string& source, const std::filesystem::path& scratch_directory,
    const std::string& platform) {
  const std::size_t colon = source.find(':');
  const std::string prefix = source.substr(0, colon);
  const std::string rest = colon == std::string::npos ? "" : source.substr(colon + 1);
  if (colon != std::string::npos && prefix == "docker-daemon") {
    return open_docker_daemon(rest, scratch_directory);
  }
  if (colon == std::string::npos ||
      (prefix != "docker-archive" && prefix != "oci-archive" && prefix != "oci")) {
    return Error(ErrorCode::kSourceUnsupported,
                 "\"" + base::printable(source) +
                     "\" is no image source; use docker-archive:FILE[:REFERENCE], oci:DIR[:TAG], "
                     "oci-archive:FILE[:TAG] or docker-daemon:REFERENCE");
  }
  OU_TRY(const NamePair name, split_at_colon(rest));
  if (prefix == "docker-archive") {
    return open_archive(name, scratch_directory, nullptr);
  }
  if (prefix == "oci-archive") {
    return open_archive(name, scratch_directory, &platform);
  }
  return open_layout(name, platform);
}

}  // namespace oci
