// Archives of `docker save` in all their forms, and hostile ones.
#include <catch2/catch.hpp>

#include "base/json.hpp"
#include "oci/image_source.hpp"
#include "support/image_builder.hpp"
#include "support/image_checks.hpp"
#include "support/scratch.hpp"
#include "support/tar_builder.hpp"

using base::ErrorCode;
using base::Json;
using support::NamedImage;
using support::read_image;
using support::Scratch;
using support::small_image;
using support::TarBuilder;
using support::TestImage;

namespace {

void check_opens(const Scratch& scratch, const std::string& source, const TestImage& image) {
  const auto read = read_image(source, scratch.path());
  INFO((read ? "" : read.error().message()));
  REQUIRE(read);
  CHECK(read->id == image.id());
  CHECK(read->found == read->announced);
}

base::Error error_of(const Scratch& scratch, const std::string& bytes,
                     const std::string& reference = "") {
  const auto path = scratch.write("bad.tar", bytes).string();
  const auto read = read_image("docker-archive:" + path + reference, scratch.path());
  REQUIRE_FALSE(read);
  return read.error();
}

// An archive with a manifest.json of any content beside a good image.
std::string with_manifest(const TestImage& image, const std::string& manifest) {
  return TarBuilder()
      .file("config.json", image.config)
      .file("0.tar", image.layers[0])
      .file("1.tar", image.layers[1])
      .file("manifest.json", manifest)
      .finish();
}

Json manifest_entry() {
  return {{"Config", "config.json"}, {"RepoTags", nullptr}, {"Layers", {"0.tar", "1.tar"}}};
}

}  // namespace

TEST_CASE("docker-archive: opens what engines, skopeo and buildah write") {
  const Scratch scratch;
  const TestImage image = small_image();
  const std::string tar = GENERATE_COPY(support::legacy_docker_archive({{image, {"app:1"}}}),
                                        support::legacy_docker_archive({{image, {}}}),
                                        support::skopeo_docker_archive({{image, {"app:1"}}}));
  for (const std::string& file : {tar, support::gzip(tar), support::zstd(tar)}) {
    const auto path = scratch.write("image.tar", file).string();
    check_opens(scratch, "docker-archive:" + path, image);
  }
}

TEST_CASE("docker-archive: leaves nothing in the scratch directory") {
  const Scratch scratch;
  const TestImage image = small_image();
  const auto path =
      scratch.write("in/i.tar.gz", support::gzip(support::skopeo_docker_archive({{image, {}}})));
  std::filesystem::create_directory(scratch / "spool");
  REQUIRE(read_image("docker-archive:" + path.string(), scratch / "spool"));
  CHECK(std::filesystem::is_empty(scratch / "spool"));
}

TEST_CASE("docker-archive: opens the archive of an engine that stores OCI layouts") {
  const Scratch scratch;
  const TestImage image = small_image();
  support::LayoutBuilder layout(scratch / "layout");
  layout.add(layout.image(image, support::LayoutBuilder::Layers::kPlain), "1");
  const auto blob = [](const std::string& bytes) {
    return "blobs/sha256/" + TestImage::digest_of(bytes).hex();
  };
  const Json manifest = Json::array({{{"Config", blob(image.config)},
                                      {"RepoTags", {"app:1"}},
                                      {"Layers", {blob(image.layers[0]), blob(image.layers[1])}},
                                      {"LayerSources", Json::object()}}});
  const auto path = scratch.write("new.tar", layout.to_tar(manifest.dump())).string();
  check_opens(scratch, "docker-archive:" + path, image);
  check_opens(scratch, "docker-archive:" + path + ":docker.io/library/app:1", image);
  check_opens(scratch, "oci-archive:" + path + ":1", image);
}

TEST_CASE("docker-archive: one of several images is chosen by name or number") {
  const Scratch scratch;
  const TestImage one = small_image(1);
  const TestImage two = small_image(2);  // its upper layer is the same: a link in old archives
  const std::vector<NamedImage> images{{one, {"registry.example:5000/team/one:1"}},
                                       {two, {"two:latest", "two:2"}}};
  const std::string tar =
      GENERATE_COPY(support::legacy_docker_archive(images), support::skopeo_docker_archive(images));
  const std::string source = "docker-archive:" + scratch.write("several.tar", tar).string();
  check_opens(scratch, source + ":registry.example:5000/team/one:1", one);
  check_opens(scratch, source + ":two", two);
  check_opens(scratch, source + ":two:2", two);
  check_opens(scratch, source + ":docker.io/library/two:2", two);
  check_opens(scratch, source + ":@1", two);

  const base::Error unnamed = error_of(scratch, tar);
  CHECK(unnamed.code() == ErrorCode::kImageInvalid);
  CHECK_THAT(unnamed.message(),
             Catch::Contains("registry.example:5000/team/one:1") && Catch::Contains("two:2"));
  for (const char* reference : {":three", ":two:3", ":@2", ":@-1", ":@", ":@1x"}) {
    const base::Error missing = error_of(scratch, tar, reference);
    CHECK(missing.code() == ErrorCode::kNotFound);
    CHECK_THAT(missing.message(), Catch::Contains("two:2"));
  }
}

TEST_CASE("docker-archive: hostile manifests are refused") {
  const Scratch scratch;
  const TestImage image = small_image();
  Json entry = manifest_entry();
  std::string text;
  ErrorCode code = ErrorCode::kImageInvalid;
  SECTION("not JSON") {
    text = "[";
  }
  SECTION("no list") {
    text = "{}";
  }
  SECTION("an empty list") {
    text = "[]";
  }
  SECTION("a deep list") {
    text = std::string(100, '[') + std::string(100, ']');
    code = ErrorCode::kLimitExceeded;
  }
  SECTION("no configuration") {
    entry.erase("Config");
  }
  SECTION("layers are no list") {
    entry["Layers"] = "0.tar";
  }
  SECTION("one layer too few") {
    entry["Layers"] = {"0.tar"};
  }
  SECTION("one layer too many") {
    entry["Layers"] = {"0.tar", "1.tar", "1.tar"};
  }
  SECTION("the configuration leads out of the archive") {
    entry["Config"] = "../../../../../etc/hostname";
    code = ErrorCode::kNotFound;
  }
  SECTION("a layer is an absolute path") {
    entry["Layers"] = {"0.tar", "/etc/hostname"};
    code = ErrorCode::kNotFound;
  }
  SECTION("a layer that is not there") {
    entry["Layers"] = {"0.tar", "2.tar"};
    code = ErrorCode::kNotFound;
  }
  SECTION("the configuration is a layer") {
    entry["Config"] = "0.tar";
  }
  if (text.empty()) {
    text = Json::array({entry}).dump();
  }
  CHECK(error_of(scratch, with_manifest(image, text)).code() == code);
}

TEST_CASE("docker-archive: the good manifest that the hostile ones are made from opens") {
  const Scratch scratch;
  const TestImage image = small_image();
  const auto path =
      scratch.write("good.tar", with_manifest(image, Json::array({manifest_entry()}).dump()));
  check_opens(scratch, "docker-archive:" + path.string(), image);
}

TEST_CASE("docker-archive: links that lead out, in circles or nowhere are refused") {
  const Scratch scratch;
  const TestImage image = small_image();
  TarBuilder tar;
  tar.file("config.json", image.config).file("0.tar", image.layers[0]);
  ErrorCode code = ErrorCode::kNotFound;
  SECTION("out") {
    tar.symlink("1.tar", "../../../../../../etc/hostname");
  }
  SECTION("absolute") {
    tar.symlink("1.tar", "/etc/hostname");
  }
  SECTION("nowhere") {
    tar.hardlink("1.tar", "2.tar");
  }
  SECTION("circle") {
    tar.symlink("1.tar", "2.tar").symlink("2.tar", "1.tar");
    code = ErrorCode::kImageInvalid;
  }
  SECTION("a fifo") {
    tar.fifo("1.tar");
  }
  SECTION("a directory") {
    tar.directory("1.tar");
  }
  tar.file("manifest.json", Json::array({manifest_entry()}).dump());
  CHECK(error_of(scratch, tar.finish()).code() == code);
}

TEST_CASE("docker-archive: a configuration that is not what its name says is refused") {
  const Scratch scratch;
  const TestImage image = small_image(1);
  const std::string name = small_image(2).id().hex() + ".json";
  Json entry = manifest_entry();
  entry["Config"] = name;
  const std::string tar = TarBuilder()
                              .file(name, image.config)
                              .file("0.tar", image.layers[0])
                              .file("1.tar", image.layers[1])
                              .file("manifest.json", Json::array({entry}).dump())
                              .finish();
  CHECK(error_of(scratch, tar).code() == ErrorCode::kImageInvalid);
}

TEST_CASE("docker-archive: an oversized document is refused without reading it") {
  const Scratch scratch;
  const std::string tar = TarBuilder().file("manifest.json", std::string(5'000'000, ' ')).finish();
  CHECK(error_of(scratch, tar).code() == ErrorCode::kLimitExceeded);
}

TEST_CASE("docker-archive: an archive with too many members is refused") {
  const Scratch scratch;
  std::string header = TarBuilder().file("x", "").finish();
  header.resize(512);
  std::string tar;
  for (int i = 0; i < 65'537; ++i) {
    tar += header;
  }
  CHECK(error_of(scratch, tar).code() == ErrorCode::kLimitExceeded);
}

TEST_CASE("docker-archive: a file that is cut, or none of ours, is refused with advice") {
  const Scratch scratch;
  const TestImage image = small_image();
  const std::string tar = support::skopeo_docker_archive({{image, {}}});
  CHECK(error_of(scratch, tar.substr(0, tar.size() / 2)).code() == ErrorCode::kImageInvalid);
  const std::string packed = support::gzip(tar);
  CHECK(error_of(scratch, packed.substr(0, packed.size() / 2)).code() == ErrorCode::kImageInvalid);
  CHECK(error_of(scratch, "no tar").code() == ErrorCode::kImageInvalid);

  const base::Error exported = error_of(scratch, image.layers[0]);
  CHECK(exported.code() == ErrorCode::kImageInvalid);
  CHECK_THAT(exported.message(), Catch::Contains("docker export"));

  support::LayoutBuilder layout(scratch / "layout");
  layout.add(layout.image(image));
  const base::Error other = error_of(scratch, layout.to_tar());
  CHECK_THAT(other.message(), Catch::Contains("oci-archive:"));
}
