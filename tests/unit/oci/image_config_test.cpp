// Image configurations and manifests: the forms that tools write, and everything that is refused.
#include "oci/image_config.hpp"

#include <catch2/catch.hpp>

#include "base/json.hpp"

using base::ErrorCode;
using base::Json;
using oci::Digest;

namespace {

Digest digest_of(std::string_view text) {
  return Digest::of(base::as_bytes(text));
}

Json config_document() {
  return {{"architecture", "arm"},
          {"os", "linux"},
          {"variant", "v7"},
          {"config", {{"Cmd", {"/bin/sh"}}}},
          {"rootfs",
           {{"type", "layers"}, {"diff_ids", {digest_of("0").text(), digest_of("1").text()}}}}};
}

Json manifest_document() {
  const auto layer = [](std::string_view content) {
    return Json{{"mediaType", oci::kOciLayerGzip},
                {"digest", digest_of(content).text()},
                {"size", content.size()}};
  };
  return {{"schemaVersion", 2},
          {"mediaType", oci::kOciManifestType},
          {"config",
           {{"mediaType", oci::kOciConfigType}, {"digest", digest_of("c").text()}, {"size", 1}}},
          {"layers", {layer("bottom"), layer("top")}}};
}

ErrorCode config_error(const Json& document) {
  const auto parsed = oci::parse_image_config(document.dump());
  REQUIRE_FALSE(parsed);
  return parsed.error().code();
}

ErrorCode manifest_error(const Json& document) {
  const auto parsed = oci::parse_image_manifest(document.dump());
  REQUIRE_FALSE(parsed);
  return parsed.error().code();
}

}  // namespace

TEST_CASE("image config: gives platform and diff IDs, and ignores the rest") {
  const auto config = oci::parse_image_config(config_document().dump()).value();
  CHECK(config.architecture == "arm");
  CHECK(config.os == "linux");
  CHECK(config.variant == "v7");
  CHECK(config.diff_ids == std::vector<Digest>{digest_of("0"), digest_of("1")});
}

TEST_CASE("image config: a label of many kilobytes is fine") {
  auto document = config_document();
  document["config"]["Labels"]["build"] = std::string(300'000, 'x');
  CHECK(oci::parse_image_config(document.dump()));
}

TEST_CASE("image config: refuses what no engine could run") {
  auto document = config_document();
  SECTION("no architecture") {
    document.erase("architecture");
  }
  SECTION("empty architecture") {
    document["architecture"] = "";
  }
  SECTION("no os") {
    document.erase("os");
  }
  SECTION("os is a number") {
    document["os"] = 1;
  }
  SECTION("no rootfs") {
    document.erase("rootfs");
  }
  SECTION("another kind of rootfs") {
    document["rootfs"]["type"] = "files";
  }
  SECTION("diff IDs are no list") {
    document["rootfs"]["diff_ids"] = "x";
  }
  SECTION("no layers") {
    document["rootfs"]["diff_ids"] = Json::array();
  }
  SECTION("a diff ID that is no digest") {
    document["rootfs"]["diff_ids"][0] = "sha256:12";
  }
  SECTION("a diff ID that is no string") {
    document["rootfs"]["diff_ids"][0] = 12;
  }
  SECTION("not an object") {
    document = Json::array();
  }
  CHECK(config_error(document) == ErrorCode::kImageInvalid);
}

TEST_CASE("image config: refuses more layers than an engine can stack, and oversized documents") {
  auto document = config_document();
  auto& diff_ids = document["rootfs"]["diff_ids"];
  diff_ids = Json::array();
  for (std::size_t i = 0; i < oci::kMaxLayers; ++i) {
    diff_ids.push_back(digest_of(std::to_string(i)).text());
  }
  CHECK(oci::parse_image_config(document.dump()));
  diff_ids.push_back(digest_of("one more").text());
  CHECK(config_error(document) == ErrorCode::kLimitExceeded);

  const std::string large(oci::kMaxImageDocumentBytes + 1, ' ');
  CHECK(oci::parse_image_config(large).error().code() == ErrorCode::kLimitExceeded);
  CHECK(oci::parse_image_config("{").error().code() == ErrorCode::kImageInvalid);
}

TEST_CASE("image manifest: reads OCI and Docker schema 2, with or without a media type") {
  auto document = manifest_document();
  SECTION("OCI") {}
  SECTION("no media type") {
    document.erase("mediaType");
  }
  SECTION("Docker") {
    document["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json";
    document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json";
  }
  const auto manifest = oci::parse_image_manifest(document.dump()).value();
  CHECK(manifest.config.digest == digest_of("c"));
  CHECK(manifest.config.size_bytes == 1);
  REQUIRE(manifest.layers.size() == 2);
  CHECK(manifest.layers[0].digest == digest_of("bottom"));
  CHECK(manifest.layers[1].digest == digest_of("top"));
  CHECK(manifest.layers[1].size_bytes == 3);
}

TEST_CASE("image manifest: refuses what is not one image") {
  auto document = manifest_document();
  SECTION("an index") {
    document["mediaType"] = oci::kOciIndexType;
  }
  SECTION("schema 1") {
    document["schemaVersion"] = 1;
  }
  SECTION("schema 3") {
    document["schemaVersion"] = 3;
  }
  SECTION("an artifact") {
    document["config"]["mediaType"] = "application/vnd.oci.empty.v1+json";
  }
  SECTION("no config") {
    document.erase("config");
  }
  SECTION("no layers") {
    document["layers"] = Json::array();
  }
  SECTION("a negative size") {
    document["layers"][0]["size"] = -1;
  }
  SECTION("a size that is text") {
    document["layers"][0]["size"] = "1";
  }
  SECTION("a digest that leaves the directory") {
    document["layers"][0]["digest"] = "sha256:../../../../etc/passwd";
  }
  CHECK(manifest_error(document) == ErrorCode::kImageInvalid);
}

TEST_CASE("image manifest: what is written reads back, and has the same bytes each time") {
  const auto manifest = oci::parse_image_manifest(manifest_document().dump()).value();
  const std::string text = oci::to_json(manifest);
  CHECK(oci::to_json(oci::parse_image_manifest(text).value()) == text);
}

TEST_CASE("served manifest: depends on the image alone and has these very bytes") {
  const std::string text = oci::served_manifest(digest_of("c"), 1, {digest_of("0")}, {2048});
  CHECK(
      text ==
      R"({"config":{"digest":"sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6",)"
      R"("mediaType":"application/vnd.oci.image.config.v1+json","size":1},)"
      R"("layers":[{"digest":"sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9",)"
      R"("mediaType":"application/vnd.oci.image.layer.v1.tar","size":2048}],)"
      R"("mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2})");
}
