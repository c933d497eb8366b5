// OCI image layouts in directories and archives: names, platforms, damage.
#include <catch2/catch.hpp>

#include "base/json.hpp"
#include "oci/image_source.hpp"
#include "support/image_builder.hpp"
#include "support/image_checks.hpp"
#include "support/scratch.hpp"
#include "support/tar_builder.hpp"

using base::ErrorCode;
using base::Json;
using support::LayoutBuilder;
using support::read_image;
using support::Scratch;
using support::small_image;
using support::TestImage;

namespace {

base::Error error_of(const Scratch& scratch, const std::string& source,
                     const std::string& platform = "") {
  const auto read = read_image(source, scratch.path(), platform);
  REQUIRE_FALSE(read);
  return read.error();
}

}  // namespace

TEST_CASE("oci layout: opens plain, gzip and zstd layers, in a directory and in a tar") {
  const Scratch scratch;
  const TestImage image = small_image();
  LayoutBuilder layout(scratch / "layout");
  const auto layers = GENERATE(LayoutBuilder::Layers::kPlain, LayoutBuilder::Layers::kGzip,
                               LayoutBuilder::Layers::kZstd);
  layout.add(layout.image(image, layers), "v1");
  const std::string tar = layout.to_tar();
  const std::string directory = "oci:" + layout.path().string();
  const std::string archive = "oci-archive:" + scratch.write("layout.tar", tar).string();
  const std::string packed =
      "oci-archive:" + scratch.write("layout.tar.gz", support::gzip(tar)).string();
  for (const std::string& source :
       {directory, directory + ":v1", archive, archive + ":v1", packed}) {
    const auto read = read_image(source, scratch.path());
    INFO(source + (read ? "" : read.error().message()));
    REQUIRE(read);
    CHECK(read->id == image.id());
    CHECK(read->found == read->announced);
  }
}

TEST_CASE("oci layout: one of several images is chosen by its tag") {
  const Scratch scratch;
  LayoutBuilder layout(scratch / "layout");
  layout.add(layout.image(small_image(1)), "v1");
  layout.add(layout.image(small_image(2)), "registry.example:5000/app:v2");
  const std::string source = "oci:" + layout.path().string();
  CHECK(read_image(source + ":v1", scratch.path())->id == small_image(1).id());
  CHECK(read_image(source + ":registry.example:5000/app:v2", scratch.path())->id ==
        small_image(2).id());

  const base::Error unnamed = error_of(scratch, source);
  CHECK(unnamed.code() == ErrorCode::kImageInvalid);
  CHECK_THAT(unnamed.message(), Catch::Contains("v1") && Catch::Contains("app:v2"));
  const base::Error missing = error_of(scratch, source + ":v3");
  CHECK(missing.code() == ErrorCode::kNotFound);
  CHECK_THAT(missing.message(), Catch::Contains("v1") && Catch::Contains("app:v2"));
}

TEST_CASE("oci layout: an index with several platforms needs one") {
  const Scratch scratch;
  LayoutBuilder layout(scratch / "layout");
  const TestImage amd64 = small_image(1);
  const TestImage arm64 = small_image(2, "arm64", "v8");
  const TestImage arm = small_image(3, "arm", "v7");
  Json attestation =
      Json::parse(layout.image(small_image(4), LayoutBuilder::Layers::kGzip, "unknown/unknown"));
  attestation["annotations"]["vnd.docker.reference.type"] = "attestation-manifest";
  const auto gzip = LayoutBuilder::Layers::kGzip;
  const std::string inner = layout.index(
      {layout.image(amd64, gzip, "linux/amd64"), layout.image(arm64, gzip, "linux/arm64/v8"),
       layout.image(arm, gzip, "linux/arm/v7"), attestation.dump()});
  layout.add(layout.index({inner}), "multi");
  const std::string source = "oci:" + layout.path().string();
  CHECK(read_image(source, scratch.path(), "linux/amd64")->id == amd64.id());
  CHECK(read_image(source, scratch.path(), "linux/arm64")->id == arm64.id());
  CHECK(read_image(source, scratch.path(), "linux/arm64/v8")->id == arm64.id());
  CHECK(read_image(source, scratch.path(), "linux/arm")->id == arm.id());
  CHECK(read_image(source + ":multi", scratch.path(), "linux/arm/v7")->id == arm.id());

  const base::Error none = error_of(scratch, source);
  CHECK(none.code() == ErrorCode::kImageInvalid);
  CHECK_THAT(none.message(), Catch::Contains("linux/arm/v7"));
  CHECK(error_of(scratch, source, "linux/arm/v6").code() == ErrorCode::kNotFound);
  CHECK(error_of(scratch, source, "arm64").code() == ErrorCode::kUsage);
}

TEST_CASE("oci layout: indexes nested for ever are refused") {
  const Scratch scratch;
  LayoutBuilder layout(scratch / "layout");
  std::string entry = layout.image(small_image());
  for (int i = 0; i < 5; ++i) {
    entry = layout.index({entry});
  }
  layout.add(entry);
  CHECK(error_of(scratch, "oci:" + layout.path().string()).code() == ErrorCode::kLimitExceeded);
}

TEST_CASE("oci layout: a document that is not what its digest says is refused") {
  const Scratch scratch;
  const TestImage image = small_image();
  LayoutBuilder layout(scratch / "layout");
  const std::string entry = layout.image(image);
  layout.add(entry);
  std::string path;
  SECTION("configuration") {
    path = layout.blob_path(image.id()).string();
  }
  SECTION("manifest") {
    path = layout
               .blob_path(
                   oci::Digest::parse(Json::parse(entry).at("digest").get<std::string>()).value())
               .string();
  }
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(3);
  file.put('X');
  file.close();
  CHECK(error_of(scratch, "oci:" + layout.path().string()).code() == ErrorCode::kImageInvalid);
}

TEST_CASE("oci layout: missing, cut and foreign layers are told apart") {
  const Scratch scratch;
  const TestImage image = small_image();
  LayoutBuilder layout(scratch / "layout");
  const std::string source = "oci:" + layout.path().string();
  const auto plain = LayoutBuilder::Layers::kPlain;
  const Json entry = Json::parse(layout.image(image, plain));
  const auto layer = layout.blob_path(TestImage::digest_of(image.layers[1]));
  SECTION("missing") {
    layout.add(entry.dump());
    std::filesystem::remove(layer);
    CHECK(error_of(scratch, source).code() == ErrorCode::kNotFound);
  }
  SECTION("cut") {
    layout.add(entry.dump());
    std::filesystem::resize_file(layer, 100);
    CHECK(error_of(scratch, source).code() == ErrorCode::kImageInvalid);
  }
  SECTION("a symbolic link out of the layout") {
    layout.add(entry.dump());
    std::filesystem::rename(layer, scratch / "elsewhere");
    std::filesystem::create_symlink(scratch / "elsewhere", layer);
    CHECK(error_of(scratch, source).code() == ErrorCode::kImageInvalid);
  }
  SECTION("foreign") {
    std::ifstream file(
        layout.blob_path(oci::Digest::parse(entry.at("digest").get<std::string>()).value()));
    Json manifest = Json::parse(file);
    manifest["layers"][1]["mediaType"] =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    const std::string text = manifest.dump();
    layout.add(Json{{"mediaType", entry.at("mediaType")},
                    {"digest", layout.blob(text).text()},
                    {"size", text.size()}}
                   .dump());
    std::filesystem::remove(layer);
    const base::Error error = error_of(scratch, source);
    CHECK(error.code() == ErrorCode::kImageInvalid);
    CHECK_THAT(error.message(), Catch::Contains("foreign"));
  }
}

TEST_CASE("oci layout: what is no layout is refused with advice") {
  const Scratch scratch;
  const std::string file =
      scratch.write("docker.tar", support::skopeo_docker_archive({{small_image(), {}}})).string();
  CHECK_THAT(error_of(scratch, "oci-archive:" + file).message(),
             Catch::Contains("docker-archive:"));
  CHECK_THAT(error_of(scratch, "oci:" + file).message(), Catch::Contains("oci-archive:"));
  CHECK_THAT(error_of(scratch, "oci-archive:" + scratch.path().string()).message(),
             Catch::Contains("oci:DIR"));
  CHECK(error_of(scratch, "oci:" + scratch.path().string()).code() == ErrorCode::kImageInvalid);
  CHECK(error_of(scratch, "oci:" + (scratch / "none").string()).code() == ErrorCode::kNotFound);

  LayoutBuilder layout(scratch / "layout");
  layout.add(layout.image(small_image()));
  const std::string bad =
      GENERATE("[]", "{", R"({"manifests":1})", R"({"manifests":[{}]})", R"({"manifests":[]})");
  static_cast<void>(scratch.write("layout/index.json", bad));
  const base::Error error = error_of(scratch, "oci:" + layout.path().string());
  CHECK((error.code() == ErrorCode::kImageInvalid || error.code() == ErrorCode::kNotFound));
}

TEST_CASE("image source: an unknown prefix is refused with the list of those that exist") {
  const Scratch scratch;
  const std::string source = GENERATE(
      "docker://busybox", "busybox", "", "dir:/tmp", "/tmp/image.tar", "oci",
      "oci:", "oci:/tmp:", "docker-archive:", "docker-daemon:", "docker-daemon:../../info");
  CHECK(error_of(scratch, source).code() == ErrorCode::kSourceUnsupported);
  CHECK_THAT(error_of(scratch, "docker://busybox").message(),
             Catch::Contains("docker-archive:") && Catch::Contains("docker-daemon:"));
}
