// Images written by skopeo, buildah and a real engine are the images that those tools say they are.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "support/command.hpp"
#include "support/docker_engine.hpp"
#include "support/image_builder.hpp"
#include "support/image_checks.hpp"
#include "support/scratch.hpp"
#include "support/tar_builder.hpp"

using support::must_run;
using support::read_image;
using support::ReadImage;
using support::Scratch;
using support::TestImage;

namespace {

// What skopeo says the image ID is: the digest of the configuration.
std::string skopeo_id(const std::string& source) {
  const auto shown = support::run_command({"skopeo", "inspect", "--config", "--raw", source});
  REQUIRE(shown.exit_code == 0);
  return TestImage::digest_of(shown.output).text();
}

ReadImage must_read(const std::string& source, const Scratch& scratch) {
  auto read = read_image(source, scratch.path());
  INFO(source + ": " + (read ? "" : read.error().message()));
  REQUIRE(read);
  CHECK(read->found == read->announced);
  return *read;
}

std::string skopeo_copy(const std::string& from, const std::string& to) {
  must_run({"skopeo", "--insecure-policy", "copy", "--quiet", from, to});
  return to;
}

std::string pack_file(const std::string& path, std::string (*pack)(std::string_view)) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::ofstream(path + ".packed", std::ios::binary) << pack(bytes);
  return path + ".packed";
}

}  // namespace

TEST_CASE("skopeo: every form that it writes has the image ID and layers that it says") {
  const Scratch scratch;
  const TestImage image = support::small_image();
  support::LayoutBuilder layout(scratch / "layout");
  layout.add(layout.image(image), "v1");
  const std::string from = "oci:" + layout.path().string() + ":v1";
  const std::string base = scratch.path().string();
  const std::string target =
      GENERATE(as<std::string>{}, "docker-archive:DIR/a.tar", "docker-archive:DIR/a.tar:app:1",
               "oci-archive:DIR/a.tar", "oci-archive:DIR/a.tar:v1", "oci:DIR/copy:v1");
  std::string to = target;
  to.replace(to.find("DIR"), 3, base);
  CHECK(skopeo_id(from) == image.id().text());
  const ReadImage read = must_read(skopeo_copy(from, to), scratch);
  CHECK(read.id.text() == skopeo_id(to));
  CHECK(read.announced ==
        std::vector{TestImage::digest_of(image.layers[0]), TestImage::digest_of(image.layers[1])});
}

TEST_CASE("skopeo: zstd layers are read, and our layouts are layouts to it") {
  const Scratch scratch;
  const TestImage image = support::small_image();
  support::LayoutBuilder layout(scratch / "layout");
  layout.add(layout.image(image, support::LayoutBuilder::Layers::kPlain), "v1");
  const std::string to = "oci:" + (scratch / "zstd").string() + ":v1";
  must_run({"skopeo", "--insecure-policy", "copy", "--quiet", "--dest-compress",
            "--dest-compress-format", "zstd", "oci:" + layout.path().string() + ":v1", to});
  CHECK(must_read(to, scratch).id == image.id());
}

TEST_CASE("buildah: what it commits is accepted, with the image ID that skopeo gives it") {
  const Scratch scratch;
  const auto buildah = [&scratch](std::vector<std::string> arguments) {
    std::vector<std::string> argv{"buildah",
                                  "--root",
                                  (scratch / "root").string(),
                                  "--runroot",
                                  (scratch / "run").string(),
                                  "--storage-driver",
                                  "vfs"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return must_run(argv, {"BUILDAH_ISOLATION=chroot"});
  };
  const std::string container = buildah({"from", "scratch"});
  const auto file = scratch.write("release", "one\n");
  buildah({"copy", container, file.string(), "/etc/release"});
  buildah({"config", "--cmd", "/bin/true", container});
  for (const std::string& target : {"docker-archive:" + (scratch / "d.tar").string() + ":app:1",
                                    "oci-archive:" + (scratch / "o.tar").string() + ":v1",
                                    "oci:" + (scratch / "layout").string() + ":v1"}) {
    buildah({"commit", "--quiet", container, target});
    CHECK(must_read(target, scratch).id.text() == skopeo_id(target));
  }
  buildah({"rm", container});
}

TEST_CASE("docker: images that a real engine saves, and those in it, are accepted") {
  const Scratch scratch;
  const support::DockerEngine engine;
  const TestImage one = support::small_image(1);
  const TestImage two = support::small_image(2);  // shares its upper layer with the first
  const auto archive = scratch.write(
      "in.tar", support::legacy_docker_archive({{one, {"team/one:1"}}, {two, {"two:latest"}}}));
  engine.docker({"load", "--quiet", "--input", archive.string()});
  CHECK(engine.docker({"inspect", "--format", "{{.Id}}", "two"}) == two.id().text());

  const std::string saved = (scratch / "saved.tar").string();
  engine.docker({"save", "--output", saved, "team/one:1", "two"});
  CHECK(must_read("docker-archive:" + saved + ":team/one:1", scratch).id == one.id());
  CHECK(must_read("docker-archive:" + saved + ":two", scratch).id == two.id());
  const std::string packed = pack_file(saved, support::gzip);
  CHECK(must_read("docker-archive:" + packed + ":two", scratch).id == two.id());

  REQUIRE(::setenv("DOCKER_HOST", engine.host().c_str(), 1) == 0);
  CHECK(must_read("docker-daemon:team/one:1", scratch).id == one.id());
  CHECK(must_read("docker-daemon:two", scratch).id == two.id());
  CHECK(must_read("docker-daemon:" + two.id().text(), scratch).id == two.id());
  const auto missing = read_image("docker-daemon:three:1", scratch.path());
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == base::ErrorCode::kNotFound);
  CHECK_THAT(missing.error().message(), Catch::Contains("three:1"));
  ::unsetenv("DOCKER_HOST");
}
