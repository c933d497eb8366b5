#include "install/paced_chunks.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "base/log.hpp"
#include "base/rooted_files.hpp"

namespace agent::install {

base::Result<base::Bytes> PacedChunks::read_chunk(const bundle::Blob& blob, std::size_t index) {
  auto chunk = chunks_.read_chunk(blob, index);
  if (chunk && since_.fetch_add(chunk->size()) + chunk->size() >= interval_bytes_) {
    since_ = 0;
    settle_();
  }
  return chunk;
}

std::function<void()> file_system_sync(const std::filesystem::path& host_root,
                                       const std::filesystem::path& path) {
  return [host_root, path] {
    const auto fd = base::open_in_root(host_root, path, O_RDONLY | O_DIRECTORY);
    if (!fd || ::syncfs(fd->get()) != 0) {
      base::log::warning("the file system of " + path.string() + " was not synced");
    }
  };
}

}  // namespace agent::install
