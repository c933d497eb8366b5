#include "image/store_writer.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "image/ext_nodes.hpp"
#include "image/memory_source.hpp"
#include "image/node_meter.hpp"
#include "image/store_layer.hpp"
#include "oci/decoder.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::uint64_t kMaxRecordBytes = 4096;
constexpr std::uint64_t kMaxRepositoriesBytes = std::uint64_t{16} * 1024 * 1024;
// For what names, archive records and long attributes take in a layer that was only counted.
constexpr std::uint64_t kCountedEntryBytes = 208;
constexpr std::uint64_t kCountedLayerBytes = std::uint64_t{128} * 1024;
constexpr std::uint64_t kLayerInodes = 11;      // its own directories and records
constexpr std::uint64_t kLayerFileBlocks = 12;  // of those
constexpr std::uint64_t kAttachBlocks = 2;      // by which directories grow for a layer, rounded up
constexpr std::uint64_t kStoreNodes = 24;       // directories of a store that is not there yet
constexpr std::uint64_t kFragmentsPerBlock = 4;  // free runs that can cost a file an extra block

/// One layer that has to be written, with the image that it is read from.
struct Pending {
  const NewImage* image;
  std::size_t index;
  LayerPlace place;
};

struct Plan {
  std::vector<Pending> layers;
  std::set<std::string> parents_to_commit;  // cache IDs of layers there that get their first child
  std::size_t present = 0;
};

class Store {
 public:
  Store(const ExtFileSystem& files, std::string root) : files_(files), root_(std::move(root)) {}

  [[nodiscard]] std::string path(const std::string& below) const { return root_ + "/" + below; }
  [[nodiscard]] std::string record(const oci::Digest& chain_id, const std::string& name) const {
    return path("image/overlay2/layerdb/sha256/" + chain_id.hex() + "/" + name);
  }

  [[nodiscard]] Status check() const {
    for (const char* other : {"aufs", "image/aufs"}) {
      OU_TRY(const auto found, files_.find(path(other)));
      if (found) {
        return Error(ErrorCode::kDiskImageUnsupported,
                     "the image's engine keeps its images with aufs, which this cannot write: take "
                     "an OS version of 2.88 or later, or carry the applications in a bundle");
      }
    }
    return base::ok();
  }

  /// The cache ID of a layer that is there. \error ErrorCode::kDiskImage when it is half there
  [[nodiscard]] Result<std::optional<std::string>> cache_id(const LayerPlace& place) const {
    OU_TRY(const auto found, files_.find(record(place.chain_id, "diff")));
    if (!found) {
      return std::optional<std::string>();
    }
    OU_TRY(const std::string diff,
           files_.read_file(record(place.chain_id, "diff"), kMaxRecordBytes));
    OU_TRY(std::string cache_id,
           files_.read_file(record(place.chain_id, "cache-id"), kMaxRecordBytes));
    const bool plain = !cache_id.empty() &&
                       cache_id.find_first_of(std::string_view("/\0", 2)) == std::string::npos &&
                       !cache_id.starts_with('.');
    OU_TRY(const auto tree, files_.find(path("overlay2/" + (plain ? cache_id : "?") + "/diff")));
    if (!plain || diff != place.diff_id.text() || !tree || tree->kind != NodeKind::kDirectory) {
      return Error(ErrorCode::kDiskImage,
                   "the image's engine store is damaged: layer " + place.chain_id.text() +
                       " is only half there; take a fresh copy of the image");
    }
    return std::optional(std::move(cache_id));
  }

  /// What the child of a layer that is there has as its lower layers.
  [[nodiscard]] Result<std::string> lower_above(const std::string& cache_id) const {
    OU_TRY(const std::string link,
           files_.read_file(path("overlay2/" + cache_id + "/link"), kMaxRecordBytes));
    const std::string lower_path = path("overlay2/" + cache_id + "/lower");
    OU_TRY(const auto found, files_.find(lower_path));
    if (!found) {
      return "l/" + link;
    }
    OU_TRY(const std::string lower, files_.read_file(lower_path, kMaxRecordBytes));
    return "l/" + link + ":" + lower;
  }

 private:
  const ExtFileSystem& files_;
  std::string root_;
};

Result<Plan> make_plan(const ExtFileSystem& files, const std::string& root,
                       const std::vector<NewImage>& images) {
  const Store store(files, root);
  OU_CHECK(store.check());
  std::set<oci::Digest> with_child;
  for (const NewImage& image : images) {
    const auto chain = chain_ids(image.source->config().diff_ids);
    with_child.insert(chain.begin(), chain.empty() ? chain.end() : chain.end() - 1);
  }
  Plan plan;
  std::map<oci::Digest, std::string> above;  // a layer's chain ID to the lower of its children
  for (const NewImage& image : images) {
    const auto& diff_ids = image.source->config().diff_ids;
    const auto chain = chain_ids(diff_ids);
    for (std::size_t i = 0; i < chain.size(); ++i) {
      if (above.count(chain[i]) > 0) {
        continue;
      }
      LayerPlace place{diff_ids[i], chain[i], std::nullopt, "", with_child.count(chain[i]) > 0};
      if (i > 0) {
        place.parent = chain[i - 1];
        place.lower = above.at(chain[i - 1]);
      }
      OU_TRY(const auto cache_id, store.cache_id(place));
      if (cache_id) {
        ++plan.present;
        OU_TRY(above[chain[i]], store.lower_above(*cache_id));
        if (place.has_child) {
          plan.parents_to_commit.insert(*cache_id);
        }
        continue;
      }
      above[chain[i]] =
          "l/" + link_of(cache_id_of(chain[i])) + (place.lower.empty() ? "" : ":" + place.lower);
      plan.layers.push_back({&image, i, std::move(place)});
    }
  }
  return plan;
}

/// Tells of progress as bytes are read.
class Told final : public oci::ByteSource {
 public:
  Told(std::unique_ptr<oci::ByteSource> source, base::ProgressSink& progress)
      : source_(std::move(source)), progress_(progress) {}
  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    OU_TRY(const std::size_t got, source_->read(buffer));
    progress_.advance(got);
    return got;
  }

 private:
  std::unique_ptr<oci::ByteSource> source_;
  base::ProgressSink& progress_;
};

std::string name_of(const Pending& layer) {
  return layer.image->label + ": layer " + std::to_string(layer.index + 1) + " of " +
         std::to_string(layer.image->source->config().diff_ids.size());
}

Result<std::unique_ptr<ReadAhead>> open_layer(const Pending& layer, base::ProgressSink& progress) {
  OU_TRY(auto stored, layer.image->source->open_layer(layer.index));
  OU_TRY(auto plain, oci::open_decoder(std::move(stored)));
  return std::make_unique<ReadAhead>(std::make_unique<Told>(std::move(plain), progress));
}

base::Room counted(const oci::LayerUsage& usage, std::uint64_t block) {
  return {.bytes = usage.bytes + usage.inodes * kCountedEntryBytes + kCountedLayerBytes +
                   kLayerFileBlocks * block,
          .inodes = usage.inodes + kLayerInodes};
}

Result<base::Room> measured(const Pending& layer, const NodeGeometry& geometry,
                            std::uint64_t& archive_bytes, base::ProgressSink& progress) {
  OU_TRY(const auto tar, open_layer(layer, progress));
  NodeMeter meter(geometry);
  OU_TRY(const BuiltLayer built, build_layer(meter, layer.place, *tar, {}));
  static_cast<void>(built);
  archive_bytes += tar->size_bytes();
  return meter.used();
}

/// "registry.example/v2/0af3" of a reference with tag or digest.
std::string repository_of(const std::string& reference) {
  const std::string name = reference.substr(0, reference.find('@'));
  const std::size_t slash = name.rfind('/');
  const std::size_t colon = name.find(':', slash == std::string::npos ? 0 : slash);
  return name.substr(0, colon);
}

/// Images and names once their layers are there.
class StoreFiles {
 public:
  StoreFiles(ExtFileSystem& files, const Store& store) : files_(files), store_(store) {}

  Status make_directories(const std::string& root) {
    OU_CHECK(files_.make_directory(root, 0710));
    OU_CHECK(files_.make_directory(store_.path("overlay2"), 0710));
    for (const char* below :
         {"overlay2/l", "image", "image/overlay2", "image/overlay2/imagedb",
          "image/overlay2/imagedb/content", "image/overlay2/imagedb/content/sha256",
          "image/overlay2/imagedb/metadata", "image/overlay2/imagedb/metadata/sha256",
          "image/overlay2/layerdb", "image/overlay2/layerdb/sha256", "image/overlay2/distribution",
          "image/overlay2/distribution/diffid-by-digest",
          "image/overlay2/distribution/diffid-by-digest/sha256",
          "image/overlay2/distribution/v2metadata-by-diffid",
          "image/overlay2/distribution/v2metadata-by-diffid/sha256"}) {
      OU_CHECK(files_.make_directory(store_.path(below), 0700));
    }
    return base::ok();
  }

  Status write(const std::string& below, std::string_view text, std::uint32_t permissions) {
    MemorySource source(base::as_bytes(text));
    return files_.write_file(store_.path(below), source, text.size(), permissions);
  }

  Status write_once(const std::string& below, std::string_view text, std::uint32_t permissions) {
    OU_TRY(const auto found, files_.find(store_.path(below)));
    return found ? base::ok() : write(below, text, permissions);
  }

  /// The engine takes a blob for an uncompressed layer: that is what a bundle's registry serves.
  Status write_distribution(const oci::Digest& diff_id, const std::string& repository) {
    const std::string base = "image/overlay2/distribution/";
    OU_CHECK(write_once(base + "diffid-by-digest/sha256/" + diff_id.hex(), diff_id.text(), 0644));
    const base::Json metadata = base::Json::array(
        {{{"Digest", diff_id.text()}, {"SourceRepository", repository}, {"HMAC", ""}}});
    return write_once(base + "v2metadata-by-diffid/sha256/" + diff_id.hex(),
                      base::to_canonical(metadata), 0644);
  }

  Status write_names(const std::vector<NewImage>& images) {
    const std::string name = "image/overlay2/repositories.json";
    OU_TRY(const auto found, files_.find(store_.path(name)));
    base::Json json = base::Json::object();
    if (found) {
      OU_TRY(const std::string text, files_.read_file(store_.path(name), kMaxRepositoriesBytes));
      auto parsed = base::parse_json(text, {.max_bytes = kMaxRepositoriesBytes});
      if (!parsed || !parsed->is_object()) {
        return Error(ErrorCode::kDiskImage,
                     "the image's engine store is damaged: repositories.json cannot be read; take "
                     "a fresh copy of the image");
      }
      json = *std::move(parsed);
    }
    base::Json& repositories = json["Repositories"];
    if (!repositories.is_object()) {
      repositories = base::Json::object();
    }
    for (const NewImage& image : images) {
      const auto id = oci::Digest::of(base::as_bytes(image.source->config_bytes()));
      for (const std::string& reference : image.references) {
        base::Json& names = repositories[repository_of(reference)];
        if (!names.is_object()) {
          names = base::Json::object();
        }
        names[reference] = id.text();
      }
    }
    return write(name, base::to_canonical(json), 0600);
  }

 private:
  ExtFileSystem& files_;
  const Store& store_;
};

Result<NodeId> directory_at(const ExtFileSystem& files, const std::string& path) {
  OU_TRY(const auto found, files.find(path));
  if (!found || found->kind != NodeKind::kDirectory) {
    return Error(ErrorCode::kDiskImage, "the image's engine store is damaged: " + path +
                                            " is no directory; take a fresh copy of the image");
  }
  return found->inode;
}

Status write_layers(ExtFileSystem& files, const Store& store, const Plan& plan,
                    base::ProgressSink& progress) {
  OU_TRY(const auto nodes, ExtNodes::open(files));
  LayerParents parents{};
  OU_TRY(parents.overlays, directory_at(files, store.path("overlay2")));
  OU_TRY(parents.records, directory_at(files, store.path("image/overlay2/layerdb/sha256")));
  OU_TRY(const NodeId links, directory_at(files, store.path("overlay2/l")));
  for (const Pending& layer : plan.layers) {
    OU_TRY(const auto tar, open_layer(layer, progress).within(name_of(layer)));
    OU_TRY(const BuiltLayer built,
           build_layer(*nodes, layer.place, *tar, parents).within(name_of(layer)));
    const std::string cache_id = cache_id_of(layer.place.chain_id);
    using Kind = LayerEntry::Kind;
    OU_CHECK(nodes->attach(parents.overlays, {cache_id, built.overlay, Kind::kDirectory}));
    OU_CHECK(nodes->attach(links, {link_of(cache_id), built.link, Kind::kSymlink}));
    OU_CHECK(nodes->attach(parents.records,
                           {layer.place.chain_id.hex(), built.record, Kind::kDirectory}));
  }
  return base::ok();
}

}  // namespace

Result<StoreNeed> measure_images(const ExtFileSystem& files, const std::string& root,
                                 const std::vector<NewImage>& images, bool measure_all,
                                 base::ProgressSink& progress) {
  OU_TRY(const Plan plan, make_plan(files, root, images));
  const NodeGeometry geometry = geometry_of(files);
  const std::uint64_t block = geometry.block_bytes;
  StoreNeed need;
  need.layers = plan.layers.size();
  need.layers_present = plan.present;
  for (const Pending& layer : plan.layers) {
    base::Room room;
    if (!measure_all && layer.index < layer.image->known.size()) {
      const KnownLayer& known = layer.image->known[layer.index];
      room = counted(known.usage, block);
      need.layer_bytes += known.archive_bytes;
    } else {
      OU_TRY(room, measured(layer, geometry, need.layer_bytes, progress).within(name_of(layer)));
    }
    need.room.bytes += room.bytes + kAttachBlocks * block;
    need.room.inodes += room.inodes;
  }
  std::size_t distributed = 0;
  for (const NewImage& image : images) {
    need.room.bytes += base::in_blocks(image.source->config_bytes().size(), block) + block;
    need.room.inodes += 1;
    distributed += image.source->config().diff_ids.size();
  }
  need.room.bytes += (2 * distributed + plan.parents_to_commit.size()) * block;
  need.room.inodes += 2 * distributed + plan.parents_to_commit.size();
  need.room.bytes += kStoreNodes * block;
  need.room.inodes += kStoreNodes;
  OU_TRY(const std::uint64_t runs, free_runs(files));
  need.room.bytes += (runs + kFragmentsPerBlock - 1) / kFragmentsPerBlock * block;
  return need;
}

Status write_images(ExtFileSystem& files, const std::string& root,
                    const std::vector<NewImage>& images, base::ProgressSink& progress) {
  const Store store(files, root);
  OU_TRY(const Plan plan, make_plan(files, root, images));
  StoreFiles store_files(files, store);
  OU_CHECK(store_files.make_directories(root));
  OU_CHECK(write_layers(files, store, plan, progress));
  for (const std::string& cache_id : plan.parents_to_commit) {
    OU_CHECK(store_files.write_once("overlay2/" + cache_id + "/committed", "", 0600));
  }
  for (const NewImage& image : images) {
    const std::string& config = image.source->config_bytes();
    const auto id = oci::Digest::of(base::as_bytes(config));
    OU_CHECK(
        store_files.write_once("image/overlay2/imagedb/content/sha256/" + id.hex(), config, 0600));
    const std::string repository =
        image.references.empty() ? "" : repository_of(image.references.front());
    for (const oci::Digest& diff_id : image.source->config().diff_ids) {
      OU_CHECK(store_files.write_distribution(diff_id, repository));
    }
  }
  return store_files.write_names(images);
}

}  // namespace image
