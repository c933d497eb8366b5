// Looks at every byte of one blob.
#pragma once

#include "base/progress.hpp"
#include "bundle/chunks.hpp"
#include "bundle/manifest.hpp"
#include "findings.hpp"

namespace tool {

/// Reads the blob once: each chunk against its hash, all of them against the digest, and what they
/// decompress to against the uncompressed digest and size. A chunk that is wrong is reported and
/// the next one is read all the same.
void check_blob(bundle::ChunkProvider& chunks, const bundle::Blob& blob, Findings& findings,
                base::ProgressSink& progress);

/// Where findings about a blob are placed.
std::string blob_path(const oci::Digest& digest);

}  // namespace tool
