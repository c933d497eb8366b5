#include "layout_writer.hpp"

#include <fcntl.h>

#include "base/files.hpp"
#include "base/json.hpp"
#include "oci/decoder.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

constexpr std::string_view kOciLayout = R"({"imageLayoutVersion":"1.0.0"})";
constexpr std::size_t kPieceBytes = std::size_t{256} * 1024;
constexpr std::uint64_t kMaxLayerBytes = std::uint64_t{64} << 30U;

fs::path blob_path(const fs::path& directory, const oci::Digest& digest) {
  return directory / "blobs" / "sha256" / digest.hex();
}

struct Copied {
  oci::Digest digest;
  std::uint64_t size_bytes;
};

Result<Copied> copy_layer(oci::ByteSource& source, int fd, base::ProgressSink& progress) {
  base::Sha256 hash;
  std::uint64_t total = 0;
  base::Bytes buffer(kPieceBytes);
  for (;;) {
    OU_TRY(const std::size_t got, source.read(buffer));
    if (got == 0) {
      return Copied{oci::Digest(hash.finish()), total};
    }
    total += got;
    if (total > kMaxLayerBytes) {
      return Error(ErrorCode::kLimitExceeded, "the layer is larger than 64 GiB");
    }
    const base::ByteView piece = base::ByteView(buffer).first(got);
    hash.update(piece);
    OU_CHECK(base::write_all(fd, piece));
    progress.advance(got);
  }
}

}  // namespace

Result<LayoutWriter> LayoutWriter::create(const fs::path& final_path) {
  std::error_code failure;
  if (fs::exists(fs::symlink_status(final_path, failure))) {
    return Error(ErrorCode::kAlreadyExists,
                 final_path.string() + " is there already: choose another name, or remove it");
  }
  if (final_path.has_parent_path()) {
    fs::create_directories(final_path.parent_path(), failure);
    if (failure) {
      return Error::from_errno(failure.value(), "create " + final_path.parent_path().string());
    }
  }
  OU_TRY(OutputDirectory output,
         OutputDirectory::open(final_path, false, OutputDirectory::Leftover::kDiscard));
  fs::create_directories(output.path() / "blobs" / "sha256", failure);
  if (failure) {
    return Error::from_errno(failure.value(), "create " + (output.path() / "blobs").string());
  }
  return LayoutWriter(std::move(output));
}

Status LayoutWriter::store(std::string_view document) {
  const oci::Digest digest = oci::Digest::of(base::as_bytes(document));
  if (!blobs_.emplace(digest, document.size()).second) {
    return base::ok();
  }
  return base::write_new_file(blob_path(path(), digest), base::as_bytes(document), 0644);
}

Result<std::uint64_t> LayoutWriter::store_layer(const oci::ImageSource& image, std::size_t index,
                                                base::ProgressSink& progress) {
  const oci::Digest diff_id = image.config().diff_ids.at(index);
  if (const auto known = blobs_.find(diff_id); known != blobs_.end()) {
    return known->second;
  }
  OU_TRY(auto stored, image.open_layer(index));
  OU_TRY(const auto plain, oci::open_decoder(std::move(stored)));
  const fs::path unproven = path() / "blobs" / "sha256" / "layer.partial";
  OU_TRY(const base::UniqueFd fd,
         base::open_file(unproven, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644));
  OU_TRY(const Copied copied, copy_layer(*plain, fd.get(), progress));
  if (copied.digest != diff_id) {
    return Error(ErrorCode::kImageInvalid, "the layer hashes to " + copied.digest.text() +
                                               ", the image names " + diff_id.text() +
                                               ": the source is damaged");
  }
  std::error_code failure;
  fs::rename(unproven, blob_path(path(), diff_id), failure);
  if (failure) {
    return Error::from_errno(failure.value(), "rename " + unproven.string());
  }
  blobs_.emplace(diff_id, copied.size_bytes);
  return copied.size_bytes;
}

Result<WrittenImage> LayoutWriter::add(const std::string& name, const oci::ImageSource& image,
                                       const std::map<std::string, std::string>& annotations,
                                       base::ProgressSink& progress) {
  const oci::ImageConfig& config = image.config();
  const oci::Digest id = oci::Digest::of(base::as_bytes(image.config_bytes()));
  OU_CHECK(store(image.config_bytes()));
  std::vector<std::uint64_t> sizes;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < config.diff_ids.size(); ++i) {
    const std::string shown = "layer " + std::to_string(i + 1) + " of " +
                              std::to_string(config.diff_ids.size()) + " of " + name;
    progress.phase(shown, 0);
    OU_TRY(const std::uint64_t size, store_layer(image, i, progress).within(shown));
    sizes.push_back(size);
    total += size;
  }
  const std::string manifest =
      oci::served_manifest(id, image.config_bytes().size(), config.diff_ids, sizes);
  OU_CHECK(store(manifest));
  const oci::Digest digest = oci::Digest::of(base::as_bytes(manifest));
  Json platform = {{"architecture", config.architecture}, {"os", config.os}};
  if (!config.variant.empty()) {
    platform["variant"] = config.variant;
  }
  Json notes = annotations;
  notes["org.opencontainers.image.ref.name"] = name;
  index_.push_back(base::to_canonical({{"mediaType", oci::kOciManifestType},
                                       {"digest", digest.text()},
                                       {"size", manifest.size()},
                                       {"platform", std::move(platform)},
                                       {"annotations", std::move(notes)}}));
  return WrittenImage{id, digest, total};
}

Status LayoutWriter::add_file(const std::string& name, std::string_view content) {
  return base::write_new_file(path() / name, base::as_bytes(content), 0644);
}

Status LayoutWriter::commit() {
  Json manifests = Json::array();
  for (const std::string& image : index_) {
    manifests.push_back(Json::parse(image));
  }
  const std::string index = base::to_canonical({{"schemaVersion", 2},
                                                {"mediaType", oci::kOciIndexType},
                                                {"manifests", std::move(manifests)}});
  OU_CHECK(add_file("index.json", index));
  OU_CHECK(add_file("oci-layout", kOciLayout));
  return output_.commit();
}

}  // namespace tool
