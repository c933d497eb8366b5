// Stores made by hand inside ext4 file systems: read, and found damaged or hostile.
#include "image/engine_store.hpp"

#include <catch2/catch.hpp>
#include <ctime>
#include <limits>

#include "support/byte_sources.hpp"
#include "unit/image/ext_images.hpp"
#include "unit/image/store_tree.hpp"

using base::ErrorCode;
using image::EngineStore;
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
const std::string kService = "registry.example/v2/0123456789abcdef0123456789abcdef";
const std::string kDigest = "@sha256:" + std::string(64, '7');

/// A data partition with a store of two images that share their lower layer.
struct Made {
  support::Scratch scratch;
  support::StoreTree tree{scratch / "tree/docker"};
  support::TreeLayer lower{{{"etc/hosts", "localhost\n"}, {"bin/sh", std::string(70'000, 's')}}};
  oci::Digest first = tree.add({lower}, {"base:latest"});
  oci::Digest second = tree.add({lower, {{{"app/main", "main"}, {"app/data", "data"}}}},
                                {kService + ":latest", kService + kDigest});

  [[nodiscard]] std::shared_ptr<const image::ExtFileSystem> files(
      std::uint64_t size_bytes = 16 * kMiB) const {
    const support::GuardedImage disk(scratch / "disk", size_bytes, {}, scratch / "tree");
    auto opened = image::ExtFileSystem::open(disk.range(), image::ExtFileSystem::Access::kRead);
    if (!opened) {
      throw std::runtime_error(opened.error().message());
    }
    return std::make_shared<const image::ExtFileSystem>(std::move(*opened));
  }
};

/// The layers of an image, or the first error.
base::Result<std::vector<std::string>> layers_of(const EngineStore& store, const oci::Digest& id) {
  const image::StoredImage* stored = store.find(id.text());
  if (stored == nullptr) {
    return base::Error(ErrorCode::kNotFound,
                       store.problems().empty() ? "no image" : store.problems().front());
  }
  OU_TRY(const auto source, store.open_image(*stored));
  std::vector<std::string> layers;
  for (std::size_t i = 0; i < source->config().diff_ids.size(); ++i) {
    OU_TRY(const auto layer, source->open_layer(i));
    OU_TRY(std::string tar, support::read_all(*layer));
    layers.push_back(std::move(tar));
  }
  return layers;
}

}  // namespace

TEST_CASE("engine store: images, names and layers come back as they were") {
  const Made made;
  const auto store = EngineStore::open(made.files(), "docker");
  REQUIRE(store);
  CHECK(store->problems().empty());
  REQUIRE(store->images().size() == 2);
  const image::StoredImage* service = store->find(made.second.text());
  REQUIRE(service != nullptr);
  CHECK(service->references == std::vector{kService + ":latest", kService + kDigest});
  CHECK(service->size_bytes == 70'018);
  const auto source = store->open_image(*service);
  REQUIRE(source);
  CHECK(oci::Digest::of(base::as_bytes((*source)->config_bytes())) == made.second);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto layer = (*source)->open_layer(i);
    REQUIRE(layer);
    const auto tar = support::read_all(**layer, 999);
    REQUIRE(tar);
    CHECK(oci::Digest::of(base::as_bytes(*tar)) == (*source)->config().diff_ids[i]);
  }
  CHECK((*source)->open_layer(2).error().code() == ErrorCode::kNotFound);
}

TEST_CASE("engine store: a layer can be read after the store and the image are gone") {
  const Made made;
  std::unique_ptr<oci::ByteSource> layer;
  {
    const auto store = EngineStore::open(made.files(), "docker");
    REQUIRE(store);
    const auto source = store->open_image(*store->find("base"));
    REQUIRE(source);
    layer = *(*source)->open_layer(0);
  }
  const auto tar = support::read_all(*layer);
  REQUIRE(tar);
  CHECK(*tar == made.lower.tar());
}

TEST_CASE("engine store: names are found as an engine and the supervisor find them") {
  Made made;
  const oci::Digest third = made.tree.add({{{{"third", "3"}}}}, {"many:1"});
  made.tree.add({{{{"fourth", "4"}}}}, {"many:2"});
  const auto store = EngineStore::open(made.files(), "docker");
  REQUIRE(store);
  const auto id_of = [&](const std::string& name) {
    const image::StoredImage* found = store->find(name);
    return found == nullptr ? "" : found->id.text();
  };
  CHECK(id_of(kService) == made.second.text());
  CHECK(id_of(kService + ":latest") == made.second.text());
  CHECK(id_of(kService + kDigest) == made.second.text());
  CHECK(id_of(kService + "@sha256:" + std::string(64, '8')) == made.second.text());
  CHECK(id_of(kService + ":other").empty());
  CHECK(id_of("many:1") == third.text());
  CHECK(id_of("many").empty());
  CHECK(id_of("nothing").empty());
}

TEST_CASE("engine store: what is no overlay2 store is refused") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("tree/balena/aufs/layers/x", ""));
  static_cast<void>(scratch.write("tree/empty/x", ""));
  const support::GuardedImage disk(scratch / "disk", 8 * kMiB, {}, scratch / "tree");
  const auto files = std::make_shared<const image::ExtFileSystem>(
      *image::ExtFileSystem::open(disk.range(), image::ExtFileSystem::Access::kRead));
  const auto aufs = EngineStore::open(files, "balena");
  REQUIRE_FALSE(aufs);
  CHECK(aufs.error().code() == ErrorCode::kDiskImage);
  CHECK(aufs.error().message().find("aufs") != std::string::npos);
  CHECK(EngineStore::open(files, "empty").error().code() == ErrorCode::kDiskImage);
  CHECK(EngineStore::open(files, "nowhere").error().code() == ErrorCode::kDiskImage);
}

TEST_CASE("engine store: a damaged image is left out, with what is wrong") {
  Made made;
  const std::string metadata = made.tree.last_layer();
  const auto damage = [&](const std::string& what) {
    INFO(what);
    const auto store = EngineStore::open(made.files(), "docker");
    REQUIRE(store);
    CHECK(store->images().size() == 1);
    REQUIRE(store->problems().size() == 1);
    CHECK(store->problems().front().find(what) != std::string::npos);
  };
  SECTION("a directory that leads out of the store") {
    made.tree.write(metadata + "/cache-id", "../../../etc");
    damage("which no engine makes");
  }
  SECTION("a directory that is not there") {
    made.tree.write(metadata + "/cache-id", std::string(64, 'a'));
    damage("no directory");
  }
  SECTION("a directory that is a symbolic link") {
    fs::remove_all(made.tree.root() / made.tree.last_diff());
    fs::create_directory_symlink("/", made.tree.root() / made.tree.last_diff());
    damage("no directory");
  }
  SECTION("a cycle of parents") {
    made.tree.write(metadata + "/parent", "sha256:" + fs::path(metadata).filename().string());
    damage("another layer below");
  }
  SECTION("no parent") {
    fs::remove(made.tree.root() / metadata / "parent");
    damage("another layer below");
  }
  SECTION("no size") {
    fs::remove(made.tree.root() / metadata / "size");
    damage("has no docker/" + metadata + "/size");
  }
  SECTION("a size that is none") {
    made.tree.write(metadata + "/size", "12\n");
    damage("has the size");
  }
  SECTION("another diff ID") {
    made.tree.write(metadata + "/diff", "sha256:" + std::string(64, '0'));
    damage("another diff ID");
  }
  SECTION("no layer") {
    fs::remove_all(made.tree.root() / metadata);
    damage("layer 2 of 2");
  }
  SECTION("another configuration") {
    made.tree.write("image/overlay2/imagedb/content/sha256/" + made.second.hex(), "{}");
    damage("not what its name says");
  }
}

TEST_CASE("engine store: names that cannot be read leave the images without names") {
  Made made;
  made.tree.write("image/overlay2/repositories.json", "{\"Repositories\":[]}");
  const auto store = EngineStore::open(made.files(), "docker");
  REQUIRE(store);
  CHECK(store->images().size() == 2);
  CHECK(store->problems().size() == 1);
  CHECK(layers_of(*store, made.first));
}

TEST_CASE("engine store: a layer whose record or files are not right is an error") {
  Made made;
  const std::string record = made.tree.last_layer() + "/tar-split.json.gz";
  const fs::path diff = made.tree.root() / made.tree.last_diff();
  const auto refused = [&](const std::string& what) {
    INFO(what);
    const auto store = EngineStore::open(made.files(), "docker");
    REQUIRE(store);
    const auto layers = layers_of(*store, made.second);
    REQUIRE_FALSE(layers);
    CHECK(layers.error().code() == ErrorCode::kImageInvalid);
    CHECK(layers.error().message().find(what) != std::string::npos);
  };
  SECTION("no record") {
    fs::remove(made.tree.root() / record);
    refused("no record");
  }
  SECTION("a record that names a file outside") {
    made.tree.write(record, support::gzip(support::file_line(0, "../link", "xyz")));
    refused("leads out");
  }
  SECTION("a record that names a file behind a symbolic link") {
    fs::create_directory_symlink("app", diff / "way");
    made.tree.write(record, support::gzip(support::file_line(0, "way/main", "main")));
    refused("no file way/main");
  }
  SECTION("a record that names a symbolic link") {
    fs::create_symlink("app/main", diff / "way");
    made.tree.write(record, support::gzip(support::file_line(0, "way", "main")));
    refused("no file way");
  }
  SECTION("a record that names a directory") {
    made.tree.write(record, support::gzip(support::file_line(0, "app", "x")));
    refused("no file app");
  }
  SECTION("a file of another size") {
    made.tree.write(made.tree.last_diff() + "/app/main", "longer");
    refused("its layer's record says");
  }
  SECTION("a file with other content") {
    made.tree.write(made.tree.last_diff() + "/app/main", "niam");
    refused("has been changed");
  }
}

TEST_CASE("engine store: a directory with many files takes time in proportion") {
  const auto layer_of = [](std::size_t files) {
    support::TreeLayer layer;
    for (std::size_t i = 0; i < files; ++i) {
      layer.files.emplace_back("many/" + std::to_string(i * 7919 % files), "x");
    }
    return layer;
  };
  // What one layer takes of the processor, at its best: other programs run as well.
  const auto ticks = [&layer_of](std::size_t files) {
    const support::Scratch scratch;
    support::StoreTree tree(scratch / "tree/docker");
    const support::TreeLayer layer = layer_of(files);
    const oci::Digest id = tree.add({layer}, {});
    const support::GuardedImage disk(scratch / "disk", 64 * kMiB, {"-i", "4096"}, scratch / "tree");
    const auto store =
        EngineStore::open(std::make_shared<const image::ExtFileSystem>(*image::ExtFileSystem::open(
                              disk.range(), image::ExtFileSystem::Access::kRead)),
                          "docker");
    REQUIRE(store);
    std::clock_t best = std::numeric_limits<std::clock_t>::max();
    for (int run = 0; run < 3; ++run) {
      const std::clock_t start = std::clock();
      const auto layers = layers_of(*store, id);
      REQUIRE(layers);
      CHECK(layers->front() == layer.tar());
      best = std::min(best, std::clock() - start);
    }
    return best;
  };
  // Eight times the files: a directory that is read again for each name takes 64 times as long.
  CHECK(ticks(4800) < 24 * ticks(600));
}
