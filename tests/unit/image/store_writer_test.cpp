// What the store writer puts into a file system: nodes of every kind, whiteouts, records, names;
// the same bytes each time; and an error for what no engine extracts.
#include "image/store_writer.hpp"

#include <catch2/catch.hpp>

#include "base/json.hpp"
#include "store_images.hpp"

using base::ErrorCode;
using support::diff_path;
using support::GuardedImage;
using support::new_image;
using support::Scratch;
using support::TarBuilder;
using support::write_store;

namespace {

constexpr std::uint64_t kDiskBytes = std::uint64_t{48} << 20U;
const std::vector<std::string> kFactory = {"-b", "4096", "-i", "8192"};

std::string read(const image::ExtFileSystem& files, const std::string& path) {
  auto text = files.read_file(path, 64 << 20U);
  INFO(path);
  REQUIRE(text);
  return *text;
}

image::ExtNode node_at(const image::ExtFileSystem& files, const std::string& path) {
  auto found = files.find(path);
  INFO(path);
  REQUIRE(found);
  REQUIRE(*found);
  return **found;
}

base::Error error_of(const std::string& layer) {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  const auto status = write_store(disk, {new_image({layer})});
  REQUIRE_FALSE(status);
  CHECK(disk.guards_intact());
  return status.error();
}

}  // namespace

TEST_CASE("store writer: every kind of node of a layer is in a clean file system") {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  const std::string long_target(200, 't');
  const std::string big = support::noise(3'000'001);
  const auto image = new_image({TarBuilder()
                                    .directory("etc/", 01777)
                                    .file("etc/hosts", "localhost\n", 0640)
                                    .file("bin/su", "su", 04755)
                                    .file("bin/one", "1", 0600)
                                    .hardlink("bin/other", "bin/one")
                                    .symlink("short", "etc/hosts")
                                    .symlink("long", long_target)
                                    .fifo("pipe")
                                    .device("null", 1, 3)
                                    .device("large", 300, 70000)
                                    .file("empty", "")
                                    .file("big", big)
                                    .file("deep/er/and/deeper", "x")
                                    .finish()});
  const auto status = write_store(disk, {image});
  INFO((status ? "" : status.error().message()));
  REQUIRE(status);
  CHECK(disk.faults().empty());
  CHECK(disk.guards_intact());

  const auto files = support::opened(disk);
  const std::string top = diff_path(image, 0);
  CHECK(node_at(files, top + "/etc").permissions == 01777);
  CHECK(read(files, top + "/etc/hosts") == "localhost\n");
  CHECK(node_at(files, top + "/etc/hosts").permissions == 0640);
  CHECK(node_at(files, top + "/bin/su").permissions == 04755);
  CHECK(node_at(files, top + "/bin/one").links == 2);
  CHECK(node_at(files, top + "/bin/one").permissions == 0644);  // the link's header comes later
  CHECK(node_at(files, top + "/bin/one").inode == node_at(files, top + "/bin/other").inode);
  CHECK(node_at(files, top + "/bin").permissions == 0755);
  CHECK(*files.read_link(node_at(files, top + "/short")) == "etc/hosts");
  CHECK(*files.read_link(node_at(files, top + "/long")) == long_target);
  CHECK(node_at(files, top + "/pipe").kind == image::NodeKind::kFifo);
  CHECK(node_at(files, top + "/null").kind == image::NodeKind::kCharDevice);
  CHECK(support::stat_of(disk, top + "/null").find("01:03") != std::string::npos);
  CHECK(support::stat_of(disk, top + "/large").find("300:70000") != std::string::npos);
  CHECK(node_at(files, top + "/empty").size_bytes == 0);
  CHECK(read(files, top + "/big") == big);
  CHECK(read(files, top + "/deep/er/and/deeper") == "x");
}

TEST_CASE("store writer: whiteouts and opaque directories are overlayfs's own") {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  const auto image = new_image({TarBuilder().file("a/gone", "x").file("b/old", "y").finish(),
                                TarBuilder()
                                    .whiteout("a/gone")
                                    .directory("b/")
                                    .opaque("b")
                                    .file("b/new", "z")
                                    .file("a/.wh..wh.plnk", "of aufs")
                                    .finish()});
  REQUIRE(write_store(disk, {image}));
  CHECK(disk.faults().empty());
  const auto files = support::opened(disk);
  const std::string top = diff_path(image, 1);
  const auto mark = node_at(files, top + "/a/gone");
  CHECK(mark.kind == image::NodeKind::kCharDevice);
  CHECK(mark.permissions == 0);
  CHECK(support::stat_of(disk, top + "/a/gone").find("00:00") != std::string::npos);
  CHECK(support::stat_of(disk, top + "/b").find("trusted.overlay.opaque (1) = \"y\"") !=
        std::string::npos);
  CHECK(files.list(node_at(files, top + "/a"), 10)->size() == 1);
  CHECK(files.list(node_at(files, top + "/b"), 10)->size() == 1);
}

TEST_CASE("store writer: the records of a layer, an image and its names are an engine's") {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  const std::string digest = "sha256:" + std::string(64, 'a');
  const auto image =
      new_image({TarBuilder().file("one", "12345").symlink("to", "one").finish(),
                 TarBuilder().file("two", "1").finish()},
                {"registry.example/v2/0af3:latest", "registry.example/v2/0af3@" + digest});
  REQUIRE(write_store(disk, {image}));
  const auto files = support::opened(disk);
  const auto& diff_ids = image.source->config().diff_ids;
  const std::string base = diff_ids[0].hex();
  const std::string child =
      oci::Digest::of(base::as_bytes(diff_ids[0].text() + " " + diff_ids[1].text())).hex();
  const std::string records = "docker/image/overlay2/layerdb/sha256/";
  CHECK(read(files, records + base + "/diff") == diff_ids[0].text());
  CHECK(read(files, records + base + "/size") == "8");
  CHECK(read(files, records + base + "/cache-id") == base);
  CHECK_FALSE(*files.find(records + base + "/parent"));
  CHECK(read(files, records + child + "/parent") == "sha256:" + base);
  CHECK(read(files, records + base + "/tar-split.json.gz").starts_with("\x1f\x8b"));

  const std::string link = read(files, "docker/overlay2/" + base + "/link");
  CHECK(link.size() == 26);
  CHECK(*files.read_link(node_at(files, "docker/overlay2/l/" + link)) == "../" + base + "/diff");
  CHECK(read(files, "docker/overlay2/" + child + "/lower") == "l/" + link);
  CHECK(*files.find("docker/overlay2/" + base + "/committed"));
  CHECK_FALSE(*files.find("docker/overlay2/" + child + "/committed"));
  CHECK_FALSE(*files.find("docker/overlay2/" + base + "/work"));
  CHECK(*files.find("docker/overlay2/" + child + "/work"));

  const auto id = oci::Digest::of(base::as_bytes(image.source->config_bytes()));
  CHECK(read(files, "docker/image/overlay2/imagedb/content/sha256/" + id.hex()) ==
        image.source->config_bytes());
  const auto names = base::Json::parse(read(files, "docker/image/overlay2/repositories.json"));
  const auto& ours = names["Repositories"]["registry.example/v2/0af3"];
  CHECK(ours["registry.example/v2/0af3:latest"] == id.text());
  CHECK(ours["registry.example/v2/0af3@" + digest] == id.text());
  CHECK(read(files, "docker/image/overlay2/distribution/diffid-by-digest/sha256/" + base) ==
        diff_ids[0].text());
}

TEST_CASE("store writer: layers and names that are there stay, and are shared") {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  const std::string shared = TarBuilder().file("shared", support::noise(100'000)).finish();
  const auto first = new_image({shared}, {"first:latest"});
  const auto second =
      new_image({shared, TarBuilder().file("more", "x").finish()}, {"second:latest"});
  REQUIRE(write_store(disk, {first}));
  CHECK_FALSE(*support::opened(disk).find(diff_path(first, 0) + "/../committed"));
  base::NoProgress progress;
  const auto need =
      image::measure_images(support::opened(disk), "docker", {second}, true, progress);
  REQUIRE(need);
  CHECK(need->layers == 1);
  CHECK(need->layers_present == 1);
  REQUIRE(write_store(disk, {second}));
  CHECK(disk.faults().empty());
  const auto files = support::opened(disk);
  CHECK(*files.find("docker/overlay2/" + first.source->config().diff_ids[0].hex() + "/committed"));
  const auto names = base::Json::parse(read(files, "docker/image/overlay2/repositories.json"));
  CHECK(names["Repositories"].contains("first"));
  CHECK(names["Repositories"].contains("second"));
  CHECK(files.list(node_at(files, "docker/overlay2"), 10)->size() == 3);
}

TEST_CASE("store writer: what was measured is enough, and hardly more than is taken") {
  const Scratch scratch;
  TarBuilder tar;
  for (unsigned i = 0; i < 3000; ++i) {
    tar.file("many/a-name-that-is-not-short-" + std::to_string(i), support::noise(i % 9000, 7));
  }
  tar.symlink("long", std::string(300, 'x')).file("big", support::noise(5'000'000));
  const auto image = new_image({tar.finish()});
  for (const auto& shape : support::kExtShapes) {
    const bool extents = shape.back().find("^extent") == std::string::npos;
    const GuardedImage disk(scratch / "disk", kDiskBytes, shape);
    base::NoProgress progress;
    const auto need =
        image::measure_images(support::opened(disk), "docker", {image}, true, progress);
    REQUIRE(need);
    const auto before = support::opened(disk).free();
    const auto status = write_store(disk, {image});
    if (!extents) {
      REQUIRE_FALSE(status);
      CHECK(status.error().code() == ErrorCode::kDiskImageUnsupported);
      continue;
    }
    INFO((status ? "" : status.error().message()));
    REQUIRE(status);
    CHECK(disk.faults().empty());
    const auto after = support::opened(disk).free();
    CHECK(before.bytes - after.bytes <= need->room.bytes);
    CHECK(need->room.bytes - (before.bytes - after.bytes) < 200'000);
    CHECK(before.inodes - after.inodes <= need->room.inodes);
    CHECK(need->room.inodes - (before.inodes - after.inodes) < 32);
  }
}

TEST_CASE("store writer: the same images give the same bytes") {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  std::filesystem::copy_file(disk.path(), scratch / "other");
  const GuardedImage other(scratch / "other", kDiskBytes);
  const auto image = new_image({TarBuilder().file("a", support::noise(70'000)).finish(),
                                TarBuilder().whiteout("a").directory("b/").finish()});
  REQUIRE(write_store(disk, {image}));
  REQUIRE(write_store(other, {image}));
  CHECK(support::run_command({"cmp", disk.path().string(), other.path().string()}).exit_code == 0);
}

TEST_CASE("store writer: a file system that is too small is an error") {
  const Scratch scratch;
  SECTION("blocks") {
    const GuardedImage disk(scratch / "disk", 12 << 20U, kFactory);
    const auto status = write_store(
        disk, {new_image({TarBuilder().file("a", support::noise(30 << 20U)).finish()})});
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == ErrorCode::kNoSpace);
    CHECK(disk.guards_intact());
  }
  SECTION("inodes") {
    const GuardedImage disk(scratch / "disk", 24 << 20U, {"-b", "4096", "-N", "64"});
    TarBuilder tar;
    for (int i = 0; i < 200; ++i) {
      tar.file(std::to_string(i), "");
    }
    const auto status = write_store(disk, {new_image({tar.finish()})});
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == ErrorCode::kNoSpace);
    CHECK(disk.guards_intact());
  }
}

TEST_CASE("store writer: names never lead out of a layer") {
  CHECK(error_of(TarBuilder().file("../../up", "1").finish()).message().find("../../up") !=
        std::string::npos);
  for (const std::string target : {"../../../../etc", "/", "/etc", "nowhere"}) {
    const auto through =
        TarBuilder().directory("etc/").symlink("out", target).file("out/passwd", "4").finish();
    CHECK(error_of(through).code() == ErrorCode::kImageInvalid);
  }
  CHECK(error_of(TarBuilder().hardlink("a", "../../etc/passwd").finish()).code() ==
        ErrorCode::kImageInvalid);

  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  const auto good = new_image({TarBuilder()
                                   .file("/absolute", "2")
                                   .file("a/../b/./c", "3")
                                   .directory("usr/lib/")
                                   .symlink("lib", "usr/./lib")
                                   .file("lib/inside", "4")
                                   .finish()});
  REQUIRE(write_store(disk, {good}));
  CHECK(disk.faults().empty());
  const auto files = support::opened(disk);
  const std::string top = diff_path(good, 0);
  CHECK(read(files, top + "/absolute") == "2");
  CHECK(read(files, top + "/b/c") == "3");
  CHECK(read(files, top + "/usr/lib/inside") == "4");
  CHECK(files.list(files.root(), 10)->size() == 2);  // docker, lost+found
}

TEST_CASE("store writer: what no engine extracts is refused with its name") {
  const std::string zeros(1024, '\0');
  CHECK(error_of(TarBuilder().file("a", "x").file("a/b", "y").finish()).message().find("a/b") !=
        std::string::npos);
  CHECK(error_of(TarBuilder().hardlink("a", "nothing").finish()).code() ==
        ErrorCode::kImageInvalid);
  CHECK(error_of(TarBuilder().directory("d/").hardlink("a", "d").finish()).code() ==
        ErrorCode::kImageInvalid);
  CHECK(error_of(TarBuilder().file("a", "x").file("./a", "y").finish()).message().find("two") !=
        std::string::npos);
  CHECK(error_of(TarBuilder().file("a", "x").whiteout("a").finish()).code() ==
        ErrorCode::kImageInvalid);
  CHECK(error_of(TarBuilder().file(".wh.", "").finish()).code() == ErrorCode::kImageInvalid);
  CHECK(error_of(TarBuilder().file("d/.wh...", "").finish()).code() == ErrorCode::kImageInvalid);
  CHECK(error_of(TarBuilder().file(std::string(256, 'n'), "").finish()).code() ==
        ErrorCode::kImageInvalid);
  CHECK(
      error_of(TarBuilder().symlink("a", "b").symlink("b", "a").file("a/x", "").finish()).code() ==
      ErrorCode::kImageInvalid);
  CHECK(error_of("not a tar").code() == ErrorCode::kImageInvalid);
  CHECK(error_of(TarBuilder().file("a", "x").finish().substr(0, 600)).code() ==
        ErrorCode::kImageInvalid);
  CHECK(error_of(TarBuilder().file("a", "x").finish().replace(148, 6, "000000")).code() ==
        ErrorCode::kImageInvalid);
}

TEST_CASE("store writer: a layer that is not the one of its image is refused") {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  auto image = support::make_image({TarBuilder().file("a", "x").finish()});
  image.layers[0] = TarBuilder().file("a", "y").finish();
  const image::NewImage altered{"web", std::make_shared<support::MemoryImage>(image), {}, {}};
  const auto status = write_store(disk, {altered});
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::kBlobAltered);
}

TEST_CASE("store writer: a few bytes that name endless directories are stopped") {
  TarBuilder tar;
  for (int i = 0; i < 1100; ++i) {
    std::string path = std::to_string(i);
    while (path.size() < 4000) {
      path += "/d";
    }
    tar.directory(path);
  }
  const auto image = new_image({tar.finish()});
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  base::NoProgress progress;
  const auto need = image::measure_images(support::opened(disk), "docker", {image}, true, progress);
  REQUIRE_FALSE(need);
  CHECK(need.error().code() == ErrorCode::kLimitExceeded);
}

TEST_CASE("store writer: a file with more than four runs of blocks is whole") {
  const Scratch scratch;
  const GuardedImage disk(scratch / "disk", kDiskBytes, kFactory);
  // Files of one block with a gap behind each, so that what comes next is in pieces.
  TarBuilder small;
  for (int i = 0; i < 60; ++i) {
    small.file("keep" + std::to_string(i), support::noise(4096, static_cast<std::uint32_t>(i)));
  }
  const auto first = new_image({small.finish()}, {"first:latest"});
  REQUIRE(write_store(disk, {first}));
  for (int i = 0; i < 60; i += 2) {
    disk.change("rm /" + diff_path(first, 0) + "/keep" + std::to_string(i));
  }
  const std::string big = support::noise(2'000'000);
  const auto second = new_image({TarBuilder().file("big", big).finish()}, {"second:latest"});
  REQUIRE(write_store(disk, {second}));
  CHECK(disk.faults().empty());
  CHECK(read(support::opened(disk), diff_path(second, 0) + "/big") == big);
}
