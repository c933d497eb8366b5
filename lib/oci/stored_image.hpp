// An image whose documents have been read and whose layers are files of an archive or layout.
// Private to this library.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "oci/image_source.hpp"
#include "oci/named_files.hpp"

namespace oci {

/// Checks the configuration against the layers and gives the image.
/// \param layer_names bottom layer first
/// \error ErrorCode::kImageInvalid when the numbers of layers differ; as parse_image_config()
base::Result<std::unique_ptr<ImageSource>> make_stored_image(
    std::shared_ptr<const NamedFiles> files, std::string config_bytes,
    std::vector<std::string> layer_names);

/// What `docker save` and its followers write: manifest.json names everything.
/// \param reference empty, NAME[:TAG], or @N for the N-th image, counted from 0
/// \error ErrorCode::kImageInvalid, kNotFound, kLimitExceeded, kIo
base::Result<std::unique_ptr<ImageSource>> open_docker_archive(
    std::shared_ptr<const NamedFiles> files, const std::string& reference);

/// An OCI image layout. \param tag may be empty \param platform may be empty
/// \error ErrorCode::kImageInvalid, kNotFound, kLimitExceeded, kIo, kUsage for a bad platform
base::Result<std::unique_ptr<ImageSource>> open_oci_layout(std::shared_ptr<const NamedFiles> files,
                                                           const std::string& tag,
                                                           const std::string& platform);

/// An image of the local engine. \error as open_image_source()
base::Result<std::unique_ptr<ImageSource>> open_docker_daemon(const std::string& reference,
                                                              const std::filesystem::path& scratch);

/// "docker.io/library/busybox" as engines show it: "busybox:latest".
std::string familiar_reference(std::string reference);

}  // namespace oci
