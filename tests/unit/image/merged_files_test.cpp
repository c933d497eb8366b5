// Settings of an image whose layers lie on each other.
#include "image/merged_files.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <catch2/catch.hpp>

#include "unit/image/ext_images.hpp"
#include "unit/image/store_tree.hpp"

using base::ErrorCode;
namespace fs = std::filesystem;

namespace {

struct Layered {
  support::Scratch scratch;
  support::StoreTree tree{scratch / "tree/balena"};
  oci::Digest id = tree.add({{{{"etc/os-release", "VERSION=\"1.0\"\n"}, {"etc/gone", "lower"}}},
                             {{{"usr/lib/os-release", "VERSION=\"2.0\"\n"}, {"srv/x", "x"}}}},
                            {});
  fs::path top = tree.root() / tree.last_diff();

  [[nodiscard]] base::Result<std::optional<std::string>> read(const std::string& path,
                                                              std::uint64_t limit = 1000) const {
    const support::GuardedImage disk(scratch / "disk", 16 << 20, {}, scratch / "tree");
    OU_TRY(image::ExtFileSystem files,
           image::ExtFileSystem::open(disk.range(), image::ExtFileSystem::Access::kRead));
    OU_TRY(const auto store,
           image::EngineStore::open(std::make_shared<const image::ExtFileSystem>(std::move(files)),
                                    "balena"));
    return image::read_merged_file(store, *store.find(id.text()), path, limit);
  }
};

}  // namespace

TEST_CASE("merged files: the upper layer's file hides the lower one's, behind links too") {
  Layered image;
  fs::create_directories(image.top / "etc");
  CHECK(*image.read("etc/os-release") == "VERSION=\"1.0\"\n");
  fs::create_symlink("../../../usr/lib/os-release", image.top / "etc/os-release");
  CHECK(*image.read("etc/os-release") == "VERSION=\"2.0\"\n");
  fs::remove(image.top / "etc/os-release");
  fs::create_symlink("/usr/lib/os-release", image.top / "etc/os-release");
  CHECK(*image.read("/etc/./os-release") == "VERSION=\"2.0\"\n");
  fs::create_directory_symlink("usr/lib", image.top / "way");
  CHECK(*image.read("way/os-release") == "VERSION=\"2.0\"\n");
}

TEST_CASE("merged files: what an upper layer has removed is not there") {
  Layered image;
  fs::create_directories(image.top / "etc");
  REQUIRE(::mknod((image.top / "etc/gone").c_str(), S_IFCHR, makedev(0, 0)) == 0);
  CHECK(*image.read("etc/gone") == std::nullopt);
  fs::remove_all(image.top / "etc");
  CHECK(*image.read("etc/gone") == "lower");
  REQUIRE(::mknod((image.top / "etc").c_str(), S_IFCHR, makedev(0, 0)) == 0);
  CHECK(*image.read("etc/gone") == std::nullopt);
}

TEST_CASE("merged files: nothing where there is no file, an error for what cannot be read") {
  Layered image;
  for (const char* path :
       {"etc", "no/where", "etc/gone/below", "../../../../../../etc/passwd", ""}) {
    const auto found = image.read(path);
    REQUIRE(found);
    CHECK(*found == std::nullopt);
  }
  CHECK(image.read("etc/gone", 3).error().code() == ErrorCode::kLimitExceeded);
  fs::create_symlink("loop", image.top / "loop");
  CHECK(image.read("loop").error().code() == ErrorCode::kImageInvalid);
  fs::create_symlink("/etc/passwd", image.top / "host");
  CHECK(*image.read("host") == std::nullopt);
}

TEST_CASE("merged files: settings are read as systemd reads them") {
  const auto settings = image::parse_settings(
      "# comment\nSUPERVISOR_IMAGE=registry.example/v2/abc\r\nSUPERVISOR_VERSION='17.0.1'\n"
      "NAME=\"a b\"\n\nnonsense\n=x\nEMPTY=\nQUOTE=\"\nLAST=1");
  CHECK(settings ==
        std::map<std::string, std::string>{{"SUPERVISOR_IMAGE", "registry.example/v2/abc"},
                                           {"SUPERVISOR_VERSION", "17.0.1"},
                                           {"NAME", "a b"},
                                           {"EMPTY", ""},
                                           {"QUOTE", "\""},
                                           {"LAST", "1"}});
}
