// What has to fit together in a bundle beyond single blobs: the files that are there, and the OCI
// documents inside with the manifest.
#pragma once

#include "base/directory.hpp"
#include "bundle/chunks.hpp"
#include "bundle/manifest.hpp"
#include "findings.hpp"

namespace tool {

/// Every file that is missing, of the wrong size, altered (index.json, oci-layout) or not listed.
void check_files(const base::UntrustedDirectory& directory, const bundle::Manifest& manifest,
                 Findings& findings);

/// Each image's OCI manifest and configuration, and index.json, say the same as the manifest.
/// Documents whose files have findings already are left out.
void check_oci_documents(const base::UntrustedDirectory& directory, bundle::ChunkProvider& chunks,
                         const bundle::Manifest& manifest, Findings& findings);

}  // namespace tool
