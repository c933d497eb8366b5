#include "bundle/manifest.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>

#include "base/json.hpp"
#include "bundle/limits.hpp"
#include "support/bundle_builder.hpp"
#include "support/scratch.hpp"

namespace {

using base::ErrorCode;
using base::Json;

bundle::Manifest sample(const support::Scratch& scratch) {
  auto built = support::build_bundle(
      scratch / "b.bundle", {{support::tar_of("bin/app", support::random_bytes(200'000)),
                              support::tar_of("etc/app", support::random_bytes(10, 2))},
                             {support::tar_of("bin/app", support::random_bytes(200'000))}});
  auto& manifest = built.manifest;
  manifest.targets.os_version.minimum = "6.0.0";
  manifest.release.services[0].environment = {{"LOG_LEVEL", "info"}};
  manifest.release.services[0].contract_json = R"({"type":"sw.container"})";
  manifest.release.services[1].id = 17;
  return manifest;
}

/// The error of a manifest with one thing changed.
ErrorCode refusal(const bundle::Manifest& manifest, const std::function<void(Json&)>& change) {
  auto json = Json::parse(bundle::to_json(manifest));
  change(json);
  const auto parsed = bundle::parse_manifest(json.dump());
  REQUIRE_FALSE(parsed);
  return parsed.error().code();
}

std::string document(const std::string& name) {
  std::ifstream in(std::string(OU_SOURCE_DIR) + "/docs/" + name);
  std::stringstream text;
  text << in.rdbuf();
  REQUIRE_FALSE(text.str().empty());
  return text.str();
}

}  // namespace

TEST_CASE("manifest: what is written is read again, byte for byte") {
  const support::Scratch scratch;
  const auto manifest = sample(scratch);
  const auto json = bundle::to_json(manifest);
  const auto parsed = bundle::parse_manifest(json);
  REQUIRE(parsed);
  CHECK(bundle::to_json(*parsed) == json);
  CHECK(parsed->release.services.size() == 2);
  CHECK(parsed->release.services[1].id == 17);
  CHECK(parsed->targets.os_version.minimum == "6.0.0");
  CHECK(parsed->created_at == 1'700'000'000);
}

TEST_CASE("manifest: every object is closed, a field more or less is an error") {
  const support::Scratch scratch;
  const auto manifest = sample(scratch);
  const auto json = Json::parse(bundle::to_json(manifest));
  const std::string release = "/release/" + std::string(32, 'f');
  const auto service = release + "/releases/" + std::string(32, '2') + "/services/s0";
  const auto blob = "/blobs/" + manifest.blobs.begin()->first.text();
  for (const auto& path :
       {std::string(), std::string("/targets"), std::string("/policy"),
        std::string("/targets/os_version"), release, service, std::string("/images/0"),
        std::string("/images/0/layers/0"), blob, blob + "/chunks", std::string("/files")}) {
    INFO(path);
    CHECK(refusal(manifest, [&](Json& value) {
            value[Json::json_pointer(path)]["unheard-of"] = 1;
          }) == ErrorCode::kManifestField);
  }
  for (const auto& [key, unused] : json.items()) {
    INFO(key);
    const auto code = refusal(manifest, [&](Json& value) { value.erase(key); });
    CHECK((code == ErrorCode::kManifestField || code == ErrorCode::kManifestVersion));
  }
}

TEST_CASE("manifest: another format version is named before anything else is looked at") {
  const support::Scratch scratch;
  const auto parsed = bundle::parse_manifest(R"({"format":3,"whatever":true})");
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code() == ErrorCode::kManifestVersion);
}

TEST_CASE("manifest: images, services and blobs have to fit together") {
  const support::Scratch scratch;
  const auto manifest = sample(scratch);
  const auto other = oci::Digest::of({}).text();
  CHECK(refusal(manifest, [&](Json& v) { v["service_images"]["s0"] = other; }) ==
        ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) { v["service_images"]["s9"] = other; }) ==
        ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) { v["images"].push_back(v["images"][0]); }) ==
        ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) { v["images"][0]["layers"][0]["blob"] = other; }) ==
        ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) { v["images"][0]["layers"][0]["diff_id"] = other; }) ==
        ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) { v["blobs"].erase(manifest.images[0].id.text()); }) ==
        ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) {
          v["blobs"][other] = v["blobs"][manifest.images[0].id.text()];
        }) == ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) { v["release"] = Json::object(); }) ==
        ErrorCode::kManifestField);
}

TEST_CASE("manifest: names that could mean something elsewhere are refused") {
  const support::Scratch scratch;
  const auto manifest = sample(scratch);
  const auto in_release = [](Json& v) -> Json& {
    return v["release"][std::string(32, 'f')]["releases"][std::string(32, '2')];
  };
  for (const std::string name : {"../etc", "a b", "-rf", "", "s\n"}) {
    INFO(name);
    CHECK(refusal(manifest, [&](Json& v) {
            in_release(v)["services"][name] = in_release(v)["services"]["s0"];
            in_release(v)["services"].erase("s0");
            v["service_images"][name] = v["service_images"]["s0"];
            v["service_images"].erase("s0");
          }) == ErrorCode::kManifestField);
  }
  CHECK(refusal(manifest, [&](Json& v) {
          in_release(v)["services"]["s0"]["environment"]["A-B"] = "1";
        }) == ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) {
          in_release(v)["services"]["s0"]["environment"]["A"] = 1;
        }) == ErrorCode::kManifestField);
  for (const std::string image : {"app", "registry/app:latest", "/app@sha256:00", "a b/c"}) {
    INFO(image);
    CHECK(refusal(manifest, [&](Json& v) { in_release(v)["services"]["s0"]["image"] = image; }) ==
          ErrorCode::kManifestField);
  }
  CHECK(refusal(manifest, [](Json& v) { v["targets"]["fleet"] = "../../x"; }) ==
        ErrorCode::kManifestField);
  CHECK(refusal(manifest, [](Json& v) { v["targets"]["device_types"] = Json::array(); }) ==
        ErrorCode::kManifestField);
  CHECK(refusal(manifest, [](Json& v) { v["created"] = "2026-11-31T00:00:00Z"; }) ==
        ErrorCode::kManifestField);
}

TEST_CASE("manifest: a chunk table that does not add up is refused") {
  const support::Scratch scratch;
  const auto manifest = sample(scratch);
  const auto layer = manifest.images[0].layers[0].blob.text();
  const auto chunks = [&](Json& v) -> Json& { return v["blobs"][layer]["chunks"]; };
  const auto code = [&](const std::function<void(Json&)>& change) {
    return refusal(manifest, [&](Json& v) { change(chunks(v)); });
  };
  CHECK(code([](Json& c) { c["lengths"][0] = c["lengths"][0].get<int>() + 1; }) ==
        ErrorCode::kChunkTable);
  CHECK(code([](Json& c) { c["lengths"].erase(0); }) == ErrorCode::kChunkTable);
  CHECK(code([](Json& c) { c["hashes"] = ""; }) == ErrorCode::kChunkTable);
  CHECK(code([](Json& c) { c["size"] = 1; }) == ErrorCode::kChunkTable);
  CHECK(code([](Json& c) { c["kind"] = "fixed"; }) == ErrorCode::kChunkTable);
  CHECK(code([](Json& c) { c["hashes"] = "AAAA"; }) == ErrorCode::kManifestField);
  CHECK(refusal(manifest, [&](Json& v) { v["blobs"][layer]["encoding"] = "gzip"; }) ==
        ErrorCode::kChunkTable);
  CHECK(refusal(manifest, [&](Json& v) {
          v["blobs"][layer]["uncompressed_size"] = bundle::kMaxUncompressedBytes;
        }) == ErrorCode::kBlobExpansion);
  CHECK(refusal(manifest, [&](Json& v) {
          v["blobs"][layer]["uncompressed_size"] = bundle::kMaxUncompressedBytes + 1;
        }) == ErrorCode::kManifestField);
}

TEST_CASE("manifest: JSON bombs are refused before a tree is built") {
  CHECK(bundle::parse_manifest(std::string(1'000'000, '[')).error().code() ==
        ErrorCode::kLimitExceeded);
  CHECK(bundle::parse_manifest(std::string(bundle::kMaxManifestBytes + 1, ' ')).error().code() ==
        ErrorCode::kManifestTooLarge);
  std::string many = "[0";
  for (std::size_t i = 0; i < bundle::kMaxManifestValues; ++i) {
    many += ",0";
  }
  CHECK(bundle::parse_manifest(many + "]").error().code() == ErrorCode::kLimitExceeded);
  CHECK(bundle::parse_manifest(R"({"format":1,"format":1})").error().code() ==
        ErrorCode::kManifestSyntax);
}

TEST_CASE("manifest: the example in docs/bundle-format.md is a valid manifest") {
  const auto text = document("bundle-format.md");
  const std::string fence = "```json manifest\n";
  const auto start = text.find(fence);
  REQUIRE(start != std::string::npos);
  const auto body = text.substr(start + fence.size());
  const auto parsed = bundle::parse_manifest(body.substr(0, body.find("```")));
  INFO((parsed ? "" : parsed.error().message()));
  CHECK(parsed);
}

TEST_CASE("manifest: the limits in docs/bundle-format.md are those of limits.hpp") {
  const auto text = document("bundle-format.md");
  std::ifstream header(std::string(OU_SOURCE_DIR) + "/lib/bundle/limits.hpp");
  std::string line;
  std::size_t found = 0;
  while (std::getline(header, line)) {
    std::smatch match;
    if (std::regex_search(line, match, std::regex(R"(constexpr \S+ (k\w+) =)"))) {
      INFO(match[1].str());
      CHECK(text.find("| `" + match[1].str() + "` |") != std::string::npos);
      found += 1;
    }
  }
  CHECK(found > 20);
  const auto row = [&](const std::string& name, std::uint64_t value) {
    INFO(name);
    CHECK(text.find("| `" + name + "` | " + std::to_string(value) + " |") != std::string::npos);
  };
  row("kMaxManifestBytes", bundle::kMaxManifestBytes);
  row("kMaxManifestDepth", bundle::kMaxManifestDepth);
  row("kMaxManifestValues", bundle::kMaxManifestValues);
  row("kMaxSignatureBytes", bundle::kMaxSignatureBytes);
  row("kMaxSignatures", bundle::kMaxSignatures);
  row("kMaxTrustedKeys", bundle::kMaxTrustedKeys);
  row("kMaxTrustFileBytes", bundle::kMaxTrustFileBytes);
  row("kMaxNameBytes", bundle::kMaxNameBytes);
  row("kMaxValueBytes", bundle::kMaxValueBytes);
  row("kMaxDocumentBytes", bundle::kMaxDocumentBytes);
  row("kMaxDeviceTypes", bundle::kMaxDeviceTypes);
  row("kMaxDeviceUuids", bundle::kMaxDeviceUuids);
  row("kMaxServices", bundle::kMaxServices);
  row("kMaxEnvironment", bundle::kMaxEnvironment);
  row("kMaxImages", bundle::kMaxImages);
  row("kMaxBlobs", bundle::kMaxBlobs);
  row("kMaxBlobBytes", bundle::kMaxBlobBytes);
  row("kMaxUncompressedBytes", bundle::kMaxUncompressedBytes);
  row("kMaxExpansionRatio", bundle::kMaxExpansionRatio);
  row("kMinChunkBytes", bundle::kMinChunkBytes);
  row("kMaxChunkBytes", bundle::kMaxChunkBytes);
  row("kDefaultChunkBytes", bundle::kDefaultChunkBytes);
  row("kMaxDirectoryEntries", bundle::kMaxDirectoryEntries);
  row("kMaxBootFiles", bundle::kMaxBootFiles);
  row("kMaxConnections", bundle::kMaxConnections);
  row("kMaxConnectionBytes", bundle::kMaxConnectionBytes);
  row("kMaxConfirmSeconds", bundle::kMaxConfirmSeconds);
}
