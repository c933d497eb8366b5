// Makes small, valid bundles for tests: real layers, packed by the real writer.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bundle/blob_writer.hpp"
#include "bundle/manifest.hpp"
#include "bundle/signature.hpp"
#include "bundle/trust.hpp"

namespace support {

/// Bytes in memory as a source, in pieces of at most `piece_bytes`.
std::unique_ptr<oci::ByteSource> memory_source(base::Bytes bytes,
                                               std::size_t piece_bytes = 100'000);

/// Bytes that do not compress, the same for the same seed.
base::Bytes random_bytes(std::size_t size, unsigned seed = 1);

/// A tar with one file of this content.
base::Bytes tar_of(const std::string& name, const base::Bytes& content);

base::Bytes gzip(const base::Bytes& bytes);
base::Bytes zstd(const base::Bytes& bytes);

/// Everything that a source gives. Fails the test on an error.
base::Bytes read_all(oci::ByteSource& source);

struct BuiltBundle {
  std::filesystem::path directory;
  bundle::Manifest manifest;
};

/// Writes a bundle's directory: one image for each entry of `layers` (each a list of layer tars),
/// each used by a service s0, s1, ...; for the fleet "f" x 32, device type generic-amd64. \param
/// chunk_bytes of the layers
BuiltBundle build_bundle(const std::filesystem::path& directory,
                         const std::vector<std::vector<base::Bytes>>& layers,
                         std::uint64_t sequence = 1,
                         std::uint32_t chunk_bytes = bundle::kMinChunkBytes);

/// Writes manifest.json as the manifest has it now, and signs it with the keys.
void write_manifest(const BuiltBundle& built, const std::vector<const bundle::SecretKey*>& keys);

/// A trust of these keys.
bundle::Trust trust_in(const std::vector<const bundle::SecretKey*>& keys,
                       std::size_t threshold = 1);

}  // namespace support
