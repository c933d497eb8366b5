#include "plan/room.hpp"

namespace agent::plan {
namespace {

// What an engine keeps for a layer beside its files: the overlay2 directory with link, lower, work
// and committed, and the layer database with diff, size, cache-id, parent and tar-split.
constexpr std::uint64_t kInodesPerLayer = 16;
constexpr std::uint64_t kBytesPerLayer = std::uint64_t{64} * 1024;
// tar-split keeps each entry's header: gzipped well below this.
constexpr std::uint64_t kTarSplitBytesPerInode = 256;
// An image's configuration, tags, and its service's new container.
constexpr std::uint64_t kInodesPerImage = 64;
constexpr std::uint64_t kBytesPerImage = std::uint64_t{1024} * 1024;

}  // namespace

base::Room layer_room(const bundle::Layer& layer) {
  return {.bytes = layer.installed_bytes + kBytesPerLayer +
                   layer.installed_inodes * kTarSplitBytesPerInode,
          .inodes = layer.installed_inodes + kInodesPerLayer};
}

base::Room image_room() {
  return {.bytes = kBytesPerImage, .inodes = kInodesPerImage};
}

std::string megabytes(std::uint64_t bytes) {
  return std::to_string((bytes + 999'999) / 1'000'000) + " MB";
}

}  // namespace agent::plan
