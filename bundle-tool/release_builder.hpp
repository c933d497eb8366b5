// Puts a draft and its packed images together into the release of a bundle.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "image_packer.hpp"
#include "release_draft.hpp"

namespace tool {

/// The default host part of generated image names. Names under .invalid exist nowhere (RFC 6761),
/// so that no engine can ever take such an image from a network.
inline constexpr std::string_view kDefaultRegistryName = "offline-updater.invalid";

/// Service to SOURCE, of what --image was given. \error ErrorCode::kUsage
base::Result<std::map<std::string, std::string>> parse_image_options(
    const std::vector<std::string>& images);

/// Checks that --image names every service once and nothing else.
/// \error ErrorCode::kUsage, listing the services there are
base::Status check_images(const ReleaseDraft& draft,
                          const std::map<std::string, std::string>& sources);

/// \param images for each service of the draft
/// \param commit empty: the draft's, or else made from the content, so that the same release has
/// the
///   same commit whoever builds it
/// \error ErrorCode::kTargetStateInvalid: an image name longer than the supervisor takes
base::Result<bundle::Release> build_release(const ReleaseDraft& draft,
                                            const std::map<std::string, PackedImage>& images,
                                            const std::string& fleet_uuid,
                                            const std::string& commit,
                                            const std::string& registry_name);

/// index.json of the bundle: for each service the manifest of its image, under the service's name,
/// so that `skopeo copy oci:NAME.bundle:SERVICE ...` finds it; a host OS is "host/os", a supervisor
/// "host/supervisor", which are no names of services. \source OCI image specification,
/// image-index.md, annotations.md
std::string index_json(const bundle::Manifest& manifest,
                       const std::map<oci::Digest, PackedImage>& images,
                       const std::map<oci::Digest, bundle::Blob>& blobs);

/// An id made from what the manifest says (its own id aside), in the form of a version 5 UUID.
std::string make_bundle_id(bundle::Manifest manifest);

}  // namespace tool
