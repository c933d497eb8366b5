#include "bundle/manifest.hpp"

#include <algorithm>
#include <array>

namespace bundle {

const Image* Manifest::find_image(const oci::Digest& id) const {
  const auto found = std::find_if(images.begin(), images.end(),
                                  [&id](const auto& image) { return image.id == id; });
  return found == images.end() ? nullptr : &*found;
}

std::uint64_t Manifest::format() const {
  const bool newer = !has_release() || os || supervisor || !config.empty() || policy.stage ||
                     policy.allow_os_downgrade;
  return newer ? kOsFormatVersion : kFormatVersion;
}

std::span<const std::string_view> patchable_config_keys() {
  // Settings only. Identity, endpoints (another one makes the supervisor delete volumes) and the
  // flasher's "installer" are not here, and what is not here stays as the device has it.
  static constexpr std::array<std::string_view, 8> kKeys{"appUpdatePollInterval",
                                                         "country",
                                                         "developmentMode",
                                                         "dnsServers",
                                                         "hostname",
                                                         "ntpServers",
                                                         "os",
                                                         "persistentLogging"};
  return kKeys;
}

bool is_patchable_config_key(std::string_view key) {
  const auto keys = patchable_config_keys();
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

std::size_t chunk_count(const Blob& blob) {
  const auto size = blob.chunks.kind == ChunkTable::Kind::kFrames ? blob.uncompressed_size_bytes
                                                                  : blob.size_bytes;
  return size == 0 ? 0 : (size - 1) / blob.chunks.size_bytes + 1;
}

std::vector<ChunkExtent> chunk_extents(const Blob& blob) {
  std::vector<ChunkExtent> extents;
  const std::size_t count = chunk_count(blob);
  extents.reserve(count);
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto rest = blob.size_bytes - offset;
    const auto length =
        blob.chunks.kind == ChunkTable::Kind::kFrames
            ? blob.chunks.lengths[i]
            : static_cast<std::uint32_t>(std::min<std::uint64_t>(rest, blob.chunks.size_bytes));
    extents.push_back({offset, length});
    offset += length;
  }
  return extents;
}

}  // namespace bundle
