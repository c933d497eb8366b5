// Chunks from files of a directory that could change at any moment.
#include <algorithm>
#include <list>

#include "base/files.hpp"
#include "bundle/chunks.hpp"

namespace bundle {
namespace {

using base::Bytes;
using base::Error;
using base::ErrorCode;

constexpr std::size_t kOpenBlobs = 16;

std::string chunk_text(const Blob& blob, std::size_t index) {
  return "chunk " + std::to_string(index) + " of blob " + blob.digest.text();
}

}  // namespace

struct DirectoryChunks::State {
  struct OpenBlob {
    oci::Digest digest;
    base::UniqueFd fd;
    std::vector<ChunkExtent> extents;
  };

  explicit State(base::UntrustedDirectory opened) : directory(std::move(opened)) {}

  /// The open file of a blob; the least recently used one is closed for it if need be.
  base::Result<std::shared_ptr<OpenBlob>> find(const Blob& blob) {
    const std::lock_guard lock(mutex);
    const auto found = std::find_if(
        open.begin(), open.end(), [&](const auto& entry) { return entry->digest == blob.digest; });
    if (found != open.end()) {
      open.splice(open.begin(), open, found);
      return open.front();
    }
    auto file = directory.open_file("blobs/sha256/" + blob.digest.hex());
    if (!file && file.error().code() == ErrorCode::kNotFound) {
      return Error(ErrorCode::kBlobMissing, "blob " + blob.digest.text() + " is missing");
    }
    if (!file) {
      return std::move(file).error();
    }
    if (file->size_bytes != blob.size_bytes) {
      return Error(ErrorCode::kBlobSize,
                   "blob " + blob.digest.text() + " has " + std::to_string(file->size_bytes) +
                       " bytes instead of " + std::to_string(blob.size_bytes));
    }
    open.push_front(std::make_shared<OpenBlob>(
        OpenBlob{blob.digest, std::move(file->fd), chunk_extents(blob)}));
    if (open.size() > kOpenBlobs) {
      open.pop_back();
    }
    return open.front();
  }

  base::UntrustedDirectory directory;
  std::mutex mutex;
  std::list<std::shared_ptr<OpenBlob>> open;
};

DirectoryChunks::DirectoryChunks(base::UntrustedDirectory directory)
    : state_(std::make_unique<State>(std::move(directory))) {}
DirectoryChunks::~DirectoryChunks() = default;

base::Result<base::Bytes> DirectoryChunks::read_chunk(const Blob& blob, std::size_t index) {
  OU_TRY(const auto file, state_->find(blob));
  if (index >= file->extents.size() || index >= blob.chunks.hashes.size()) {
    return Error(ErrorCode::kInternal, chunk_text(blob, index) + " does not exist");
  }
  const auto extent = file->extents[index];
  Bytes bytes(extent.length);
  OU_TRY(const auto got, base::read_at(file->fd.get(), bytes, extent.offset)
                             .within("read " + chunk_text(blob, index)));
  if (got != bytes.size()) {
    return Error(ErrorCode::kBlobSize, chunk_text(blob, index) + " is cut short");
  }
  if (base::sha256(bytes) != blob.chunks.hashes[index]) {
    return Error(ErrorCode::kBlobAltered,
                 chunk_text(blob, index) +
                     " is not what was signed: the medium is damaged or was "
                     "altered");
  }
  return bytes;
}

}  // namespace bundle
