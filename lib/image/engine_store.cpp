#include "image/engine_store.hpp"

#include <algorithm>
#include <map>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "image/stored_layers.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;
using base::Status;

constexpr std::size_t kMaxReferenceBytes = 1024;

/// Gives bytes of a file system and keeps it for as long.
class HeldSource final : public oci::ByteSource {
 public:
  HeldSource(std::shared_ptr<const ExtFileSystem> files, std::unique_ptr<oci::ByteSource> source)
      : files_(std::move(files)), source_(std::move(source)) {}
  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    return source_->read(buffer);
  }

 private:
  std::shared_ptr<const ExtFileSystem> files_;
  std::unique_ptr<oci::ByteSource> source_;  // of files_, so it goes first
};

class StoreImage final : public oci::ImageSource {
 public:
  StoreImage(std::shared_ptr<const ExtFileSystem> files, std::string config_bytes,
             oci::ImageConfig config, std::vector<StoredLayer> layers)
      : files_(std::move(files)),
        config_bytes_(std::move(config_bytes)),
        config_(std::move(config)),
        layers_(std::move(layers)) {}

  [[nodiscard]] const std::string& config_bytes() const override { return config_bytes_; }
  [[nodiscard]] const oci::ImageConfig& config() const override { return config_; }
  [[nodiscard]] Result<std::unique_ptr<oci::ByteSource>> open_layer(
      std::size_t index) const override {
    if (index >= layers_.size()) {
      return Error(ErrorCode::kNotFound, "the image has no layer " + std::to_string(index));
    }
    const StoredLayer& layer = layers_[index];
    const std::string path = layer.metadata + "/tar-split.json.gz";
    OU_TRY(const auto record, files_->find(path));
    if (!record || record->kind != NodeKind::kFile) {
      return Error(ErrorCode::kImageInvalid,
                   "layer " + std::to_string(index + 1) +
                       " has no record of its archive (tar-split.json.gz) in the store, so it "
                       "cannot be put together again: pull the image from where it came from");
    }
    OU_TRY(auto source, files_->open_file(*record));
    return open_tar_split(std::make_unique<HeldSource>(files_, std::move(source)),
                          open_layer_directory(files_, layer.directory));
  }

 private:
  std::shared_ptr<const ExtFileSystem> files_;
  std::string config_bytes_;
  oci::ImageConfig config_;
  std::vector<StoredLayer> layers_;
};

std::string content_directory(const std::string& root) {
  return root + "/image/overlay2/imagedb/content/sha256";
}

Result<std::string> read_config(const ExtFileSystem& files, const std::string& root,
                                const oci::Digest& id) {
  OU_TRY(std::string bytes,
         files.read_file(content_directory(root) + "/" + id.hex(), oci::kMaxImageDocumentBytes));
  if (oci::Digest::of(base::as_bytes(bytes)) != id) {
    return Error(ErrorCode::kImageInvalid,
                 "the image's configuration is not what its name says: the store is damaged");
  }
  return bytes;
}

Result<std::uint64_t> size_of_image(const ExtFileSystem& files, const std::string& root,
                                    const oci::Digest& id, LayersByChainId& known) {
  OU_TRY(const std::string bytes, read_config(files, root, id));
  OU_TRY(const oci::ImageConfig config, oci::parse_image_config(bytes));
  OU_TRY(const auto layers, find_stored_layers(files, root, config, known));
  std::uint64_t total = 0;
  for (const StoredLayer& layer : layers) {
    total += layer.size_bytes;  // 127 sizes of at most 2^63: they can wrap
    if (total > INT64_MAX) {
      return Error(ErrorCode::kImageInvalid, "the layers' sizes are beyond any disk");
    }
  }
  return total;
}

using References = std::map<oci::Digest, std::vector<std::string>>;

/// \source engine-and-supervisor.md section 6 (repositories.json)
Result<References> read_references(const ExtFileSystem& files, const std::string& root) {
  References references;
  auto text = files.read_file(root + "/image/overlay2/repositories.json", kMaxRepositoriesBytes);
  if (!text && text.error().code() == ErrorCode::kNotFound) {
    return references;
  }
  OU_TRY(const std::string bytes, std::move(text));
  OU_TRY(const Json document, base::parse_json(bytes, {.max_bytes = kMaxRepositoriesBytes}));
  base::JsonObject object(document, "");
  const Json& repositories = object.object("Repositories");
  OU_CHECK(object.finish_open());
  for (const auto& [repository, names] : repositories.items()) {
    if (!names.is_object()) {
      return Error(ErrorCode::kImageInvalid, "Repositories holds something else than names");
    }
    for (const auto& [name, id] : names.items()) {
      if (!id.is_string() || name.size() > kMaxReferenceBytes) {
        return Error(ErrorCode::kImageInvalid, "Repositories holds something else than names");
      }
      OU_TRY(const oci::Digest digest, oci::Digest::parse(id.get_ref<const std::string&>()));
      references[digest].push_back(name);
    }
  }
  return references;
}

Status check_is_store(const ExtFileSystem& files, const std::string& root) {
  OU_TRY(const auto images, files.find(root + "/image/overlay2"));
  if (images && images->kind == NodeKind::kDirectory) {
    return base::ok();
  }
  for (const char* old : {"/aufs", "/image/aufs"}) {
    OU_TRY(const auto found, files.find(root + old));
    if (found) {
      return Error(ErrorCode::kDiskImage,
                   "the engine's store in " + root +
                       " is of the kind aufs, which only balenaOS before 2.88 had: use a newer "
                       "image");
    }
  }
  return Error(ErrorCode::kDiskImage, "there is no engine's store (overlay2) in " + root);
}

/// Whether `reference` is `repository` with a tag or a digest.
bool is_of_repository(const std::string& reference, const std::string& repository) {
  return reference.size() > repository.size() && reference.starts_with(repository) &&
         (reference[repository.size()] == ':' || reference[repository.size()] == '@') &&
         reference.find('/', repository.size()) == std::string::npos;
}

}  // namespace

std::string repository_of(const std::string& reference) {
  const std::string name = reference.substr(0, reference.find('@'));
  const std::size_t slash = name.rfind('/');
  return name.substr(0, name.find(':', slash == std::string::npos ? 0 : slash));
}

Status EngineStore::read_images() {
  auto references = read_references(*files_, root_);
  if (!references) {
    problems_.push_back("the names of the images cannot be read: " + references.error().message());
    references = References();
  }
  OU_TRY(const auto directory, files_->find(content_directory(root_)));
  if (!directory || directory->kind != NodeKind::kDirectory) {
    return base::ok();  // a store that never had an image
  }
  OU_TRY(const auto entries, files_->list(*directory, kMaxStoredImages));
  LayersByChainId known;
  for (const ExtEntry& entry : entries) {
    const auto id = oci::Digest::parse("sha256:" + entry.name);
    if (!id) {
      continue;  // an engine leaves temporary files behind after a power cut
    }
    auto size = size_of_image(*files_, root_, *id, known);
    if (!size) {
      problems_.push_back("image " + id->text() + ": " + size.error().message());
      continue;
    }
    std::vector<std::string> names = (*references)[*id];
    std::ranges::sort(names);
    images_.push_back({*id, std::move(names), *size});
  }
  return base::ok();
}

Result<EngineStore> EngineStore::open(std::shared_ptr<const ExtFileSystem> files,
                                      const std::string& root) {
  OU_CHECK(check_is_store(*files, root));
  EngineStore store(std::move(files), root);
  OU_CHECK(store.read_images().within("the engine's store in " + root));
  return store;
}

const StoredImage* EngineStore::find(const std::string& name) const {
  for (const StoredImage& image : images_) {
    if (image.id.text() == name || std::ranges::count(image.references, name) > 0) {
      return &image;
    }
  }
  const std::string repository = repository_of(name);
  if (repository != name && name.find('@') == std::string::npos) {
    return nullptr;  // a tag means that tag
  }
  const StoredImage* only = nullptr;
  bool several = false;
  for (const StoredImage& image : images_) {
    if (std::ranges::count(image.references, repository + ":latest") > 0) {
      return &image;
    }
    if (std::ranges::any_of(image.references, [&](const std::string& reference) {
          return is_of_repository(reference, repository);
        })) {
      several = several || only != nullptr;
      only = &image;
    }
  }
  return several ? nullptr : only;
}

Result<std::unique_ptr<oci::ImageSource>> EngineStore::open_image(const StoredImage& image) const {
  OU_TRY(std::string bytes, read_config(*files_, root_, image.id).within(image.id.text()));
  OU_TRY(oci::ImageConfig config, oci::parse_image_config(bytes).within(image.id.text()));
  LayersByChainId known;
  OU_TRY(auto layers, find_stored_layers(*files_, root_, config, known).within(image.id.text()));
  return std::unique_ptr<oci::ImageSource>(
      std::make_unique<StoreImage>(files_, std::move(bytes), std::move(config), std::move(layers)));
}

Result<std::vector<std::string>> EngineStore::layer_paths(const StoredImage& image) const {
  OU_TRY(const std::string bytes, read_config(*files_, root_, image.id).within(image.id.text()));
  OU_TRY(const oci::ImageConfig config, oci::parse_image_config(bytes).within(image.id.text()));
  LayersByChainId known;
  OU_TRY(const auto layers,
         find_stored_layers(*files_, root_, config, known).within(image.id.text()));
  std::vector<std::string> paths;
  for (const StoredLayer& layer : layers) {
    paths.push_back(layer.path);
  }
  return paths;
}

}  // namespace image
