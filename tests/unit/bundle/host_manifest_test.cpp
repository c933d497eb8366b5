// Format 2: a manifest with a host OS, a supervisor and changes of the configuration.
#include <catch2/catch.hpp>
#include <functional>
#include <set>

#include "base/json.hpp"
#include "bundle/limits.hpp"
#include "bundle/manifest.hpp"
#include "support/bundle_builder.hpp"
#include "support/scratch.hpp"

namespace {

using base::ErrorCode;
using base::Json;

/// Image 0 is the service's, 1 the host OS, 2 the supervisor.
bundle::Manifest sample() {
  const support::Scratch scratch;
  auto manifest =
      support::build_bundle(scratch / "b.bundle",
                            {{support::tar_of("bin/app", support::random_bytes(2000))},
                             {support::tar_of("bin/init", support::random_bytes(2000, 2))},
                             {support::tar_of("bin/node", support::random_bytes(2000, 3))}})
          .manifest;
  const auto image_of = [&](std::size_t i) { return manifest.release.services[i].image; };
  manifest.os = bundle::HostOs{.image = image_of(1),
                               .version = "6.6.0+rev1",
                               .meta_version = "6.6.0",
                               .device_type = "generic-amd64",
                               .boot_files = {{"config.txt", 7}, {"EFI/BOOT/grub.cfg", 9}},
                               .boot_volume_bytes = 8192,
                               .signed_for_secure_boot = true};
  manifest.supervisor = bundle::SupervisorImage{
      .image = image_of(2), .name = "registry.example/v2/0af3", .version = "17.0.1"};
  manifest.config.patch_json = R"({"hostname":"shop"})";
  manifest.config.connections = {{"shop", "[connection]\nid=shop\n"}};
  manifest.policy.stage = true;
  manifest.policy.allow_os_downgrade = true;
  manifest.release.services.resize(1, manifest.release.services[0]);
  return manifest;
}

/// As sample(), with only what format 1 has.
bundle::Manifest release_alone() {
  const support::Scratch scratch;
  return support::build_bundle(scratch / "b.bundle",
                               {{support::tar_of("bin/app", support::random_bytes(2000))}})
      .manifest;
}

base::Result<bundle::Manifest> changed(const bundle::Manifest& manifest,
                                       const std::function<void(Json&)>& change) {
  auto json = Json::parse(bundle::to_json(manifest));
  change(json);
  return bundle::parse_manifest(json.dump());
}

ErrorCode refusal(const std::function<void(Json&)>& change) {
  static const auto manifest = sample();
  const auto parsed = changed(manifest, change);
  REQUIRE_FALSE(parsed);
  return parsed.error().code();
}

bool accepted(const std::function<void(Json&)>& change) {
  static const auto manifest = sample();
  return changed(manifest, change).has_value();
}

}  // namespace

TEST_CASE("host manifest: what is written is read again, byte for byte") {
  const auto manifest = sample();
  const auto json = bundle::to_json(manifest);
  CHECK(Json::parse(json)["format"] == 2);
  const auto parsed = bundle::parse_manifest(json);
  INFO((parsed ? "" : parsed.error().message()));
  REQUIRE(parsed);
  CHECK(bundle::to_json(*parsed) == json);
  REQUIRE(parsed->os);
  CHECK(parsed->os->version == "6.6.0+rev1");
  CHECK(parsed->os->meta_version == "6.6.0");
  CHECK(parsed->os->boot_files == manifest.os->boot_files);
  CHECK(parsed->os->boot_volume_bytes == 8192);
  CHECK(parsed->os->signed_for_secure_boot);
  REQUIRE(parsed->supervisor);
  CHECK(parsed->supervisor->name == "registry.example/v2/0af3");
  CHECK(parsed->config.patch_json == manifest.config.patch_json);
  CHECK(parsed->config.connections == manifest.config.connections);
  CHECK(parsed->policy.stage);
  CHECK(parsed->policy.allow_os_downgrade);
}

TEST_CASE("host manifest: every object of format 2 is closed") {
  for (const char* path : {"", "/os", "/supervisor", "/config", "/policy"}) {
    INFO(path);
    CHECK(refusal([&](Json& v) { v[Json::json_pointer(path)]["unheard-of"] = 1; }) ==
          ErrorCode::kManifestField);
  }
  for (const char* part : {"os", "supervisor"}) {
    const auto manifest = Json::parse(bundle::to_json(sample()));
    for (const auto& [key, value] : manifest[part].items()) {
      if (key == "signed") {
        continue;  // false if it is missing
      }
      INFO(part << " " << key);
      CHECK(refusal([&](Json& v) { v[part].erase(key); }) == ErrorCode::kManifestField);
    }
  }
}

TEST_CASE("host manifest: a release alone is format 1, and format 1 takes nothing new") {
  const auto manifest = release_alone();
  CHECK(Json::parse(bundle::to_json(manifest))["format"] == 1);
  const auto full = Json::parse(bundle::to_json(sample()));
  for (const char* part : {"os", "supervisor", "config"}) {
    INFO(part);
    const auto parsed = changed(manifest, [&](Json& v) { v[part] = full[part]; });
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == ErrorCode::kManifestField);
  }
  for (const char* part : {"stage", "allow_os_downgrade"}) {
    INFO(part);
    const auto parsed = changed(manifest, [&](Json& v) { v["policy"][part] = false; });
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == ErrorCode::kManifestField);
  }
  CHECK(refusal([](Json& v) { v["format"] = 1; }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v["format"] = 3; }) == ErrorCode::kManifestVersion);
}

TEST_CASE("host manifest: an OS alone is a bundle, nothing at all is none") {
  auto manifest = sample();
  manifest.release = {};
  manifest.supervisor.reset();
  const auto os_image = *manifest.find_image(manifest.os->image);
  manifest.images = {os_image};
  std::set<oci::Digest> used{os_image.id, os_image.manifest, os_image.layers[0].blob};
  std::erase_if(manifest.blobs, [&](const auto& entry) { return !used.contains(entry.first); });
  const auto parsed = bundle::parse_manifest(bundle::to_json(manifest));
  INFO((parsed ? "" : parsed.error().message()));
  REQUIRE(parsed);
  CHECK_FALSE(parsed->has_release());
  manifest.os.reset();
  manifest.images.clear();
  manifest.blobs.clear();
  const auto nothing = bundle::parse_manifest(bundle::to_json(manifest));
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().code() == ErrorCode::kManifestField);
}

TEST_CASE(
    "host manifest: services without a release, and a release without services, are refused") {
  CHECK(refusal([](Json& v) { v.erase("release"); }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v.erase("service_images"); }) == ErrorCode::kManifestField);
}

TEST_CASE("host manifest: the targets name exactly the OS's device type") {
  CHECK(refusal([](Json& v) { v["targets"]["device_types"] = {"intel-nuc"}; }) ==
        ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v["targets"]["device_types"].push_back("intel-nuc"); }) ==
        ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v["os"]["device_type"] = "intel-nuc"; }) ==
        ErrorCode::kManifestField);
}

TEST_CASE("host manifest: OS and supervisor name images of the bundle, and all are used") {
  const auto other = oci::Digest::of({}).text();
  CHECK(refusal([&](Json& v) { v["os"]["image"] = other; }) == ErrorCode::kManifestField);
  CHECK(refusal([&](Json& v) { v["supervisor"]["image"] = other; }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v.erase("os"); }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v.erase("supervisor"); }) == ErrorCode::kManifestField);
}

TEST_CASE("host manifest: boot files lie below the boot partition") {
  for (const std::string path : {"../config.json", "EFI/../../x", "..", ".", "", "/EFI", "EFI/",
                                 "EFI//x", "a/./b", "a\n", "a\x1b[1m"}) {
    INFO(path);
    CHECK(refusal([&](Json& v) { v["os"]["boot_files"][path] = 1; }) == ErrorCode::kManifestField);
  }
  CHECK(accepted([](Json& v) { v["os"]["boot_files"]["...three dots"] = 1; }));
  CHECK(refusal([](Json& v) { v["os"]["boot_files"]["a"] = -1; }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v["os"]["boot_files"]["a"] = "1"; }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v["os"]["boot_files"]["a"] = bundle::kMaxBlobBytes + 1; }) ==
        ErrorCode::kManifestField);
  const auto with_files = [](std::size_t count) {
    return [count](Json& v) {
      v["os"]["boot_files"] = Json::object();
      for (std::size_t i = 0; i < count; ++i) {
        v["os"]["boot_files"]["f" + std::to_string(i)] = 1;
      }
    };
  };
  CHECK(accepted(with_files(bundle::kMaxBootFiles)));
  CHECK(refusal(with_files(bundle::kMaxBootFiles + 1)) == ErrorCode::kManifestField);
}

TEST_CASE("host manifest: versions begin with a digit and can be shown") {
  for (const std::string version : {"", "v6.6.0", "latest", "6.6.0\n", "6.6\x1b[1m"}) {
    INFO(version);
    CHECK(refusal([&](Json& v) { v["os"]["version"] = version; }) == ErrorCode::kManifestField);
    CHECK(refusal([&](Json& v) { v["os"]["meta_version"] = version; }) ==
          ErrorCode::kManifestField);
  }
  CHECK(refusal([](Json& v) { v["supervisor"]["version"] = "v17"; }) == ErrorCode::kManifestField);
}

TEST_CASE("host manifest: the supervisor has a name without tag and digest, and of its own") {
  const auto with = [](const std::string& name) {
    return [name](Json& v) { v["supervisor"]["name"] = name; };
  };
  CHECK(accepted(with("registry.example:5000/v2/0af3")));
  for (const std::string name :
       {"supervisor", "registry/v2/a:latest", "", "registry/", "r/../A", "r/a@sha256:00", "r//a"}) {
    INFO(name);
    CHECK(refusal(with(name)) == ErrorCode::kManifestField);
  }
  const auto reference = sample().release.services[0].image_reference;
  CHECK(refusal(with(reference.substr(0, reference.find('@')))) == ErrorCode::kManifestField);
}

TEST_CASE("host manifest: the patch sets no key outside the list, whatever its value") {
  for (const char* key :
       {"uuid", "deviceApiKey", "deviceApiKeys", "apiKey", "apiEndpoint", "applicationId",
        "deviceType", "installer", "Hostname", "", "unheard-of"}) {
    for (const auto& value : {Json("x"), Json(), Json::object()}) {
      INFO(key << " " << value);
      CHECK(refusal([&](Json& v) { v["config"]["patch"][key] = value; }) ==
            ErrorCode::kManifestField);
    }
  }
  for (const auto key : bundle::patchable_config_keys()) {
    INFO(key);
    CHECK(bundle::is_patchable_config_key(key));
    CHECK(accepted([&](Json& v) { v["config"]["patch"][std::string(key)] = Json(); }));
  }
  CHECK(refusal([](Json& v) { v["config"]["patch"] = Json::array(); }) ==
        ErrorCode::kManifestField);
}

TEST_CASE("host manifest: connections have plain names, content, and limits") {
  for (const std::string name : {"../x", "a/b", ".hidden", "", "a b", "a\n"}) {
    INFO(name);
    CHECK(refusal([&](Json& v) { v["config"]["connections"][name] = "x"; }) ==
          ErrorCode::kManifestField);
  }
  CHECK(refusal([](Json& v) { v["config"]["connections"]["a"] = ""; }) ==
        ErrorCode::kManifestField);
  const auto with_size = [](std::size_t size) {
    return [size](Json& v) { v["config"]["connections"]["a"] = std::string(size, 'x'); };
  };
  CHECK(accepted(with_size(bundle::kMaxConnectionBytes)));
  CHECK(refusal(with_size(bundle::kMaxConnectionBytes + 1)) == ErrorCode::kManifestField);
  const auto with_count = [](std::size_t count) {
    return [count](Json& v) {
      v["config"]["connections"] = Json::object();
      for (std::size_t i = 0; i < count; ++i) {
        v["config"]["connections"]["c" + std::to_string(i)] = "x";
      }
    };
  };
  CHECK(accepted(with_count(bundle::kMaxConnections)));
  CHECK(refusal(with_count(bundle::kMaxConnections + 1)) == ErrorCode::kManifestField);
}
