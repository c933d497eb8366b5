// Manifests that a signer could have made by mistake or with intent, all one change away from the
// example of docs/bundle-format.md.
#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/json.hpp"
#include "bundle/limits.hpp"
#include "bundle/manifest.hpp"

namespace {

using base::ErrorCode;
using base::Json;

Json example() {
  std::ifstream in(std::string(OU_SOURCE_DIR) + "/docs/bundle-format.md");
  std::stringstream document;
  document << in.rdbuf();
  const auto text = document.str();
  const std::string fence = "```json manifest\n";
  const auto start = text.find(fence) + fence.size();
  auto json = Json::parse(text.substr(start, text.find("```", start) - start), nullptr, false);
  REQUIRE(json.is_object());
  return json;
}

Json& release(Json& manifest) {
  return (*manifest["release"].begin())["releases"].front();
}
Json& service(Json& manifest) {
  return release(manifest)["services"]["main"];
}

ErrorCode refusal(const std::function<void(Json&)>& change) {
  auto json = example();
  change(json);
  const auto parsed = bundle::parse_manifest(json.dump());
  REQUIRE_FALSE(parsed);
  return parsed.error().code();
}

bool accepted(const std::function<void(Json&)>& change) {
  auto json = example();
  change(json);
  return bundle::parse_manifest(json.dump()).has_value();
}

}  // namespace

TEST_CASE("manifest: volumes and networks are objects under names that an engine takes") {
  for (const std::string kind : {"volumes", "networks"}) {
    CHECK(accepted([&](Json& v) { release(v)[kind]["a.b_c-1"] = {{"driver", "local"}}; }));
    for (const std::string name : {"../etc", "", "a/b", "-v", "a b", "a\n", ".hidden"}) {
      INFO(kind << " " << name);
      CHECK(refusal([&](Json& v) { release(v)[kind][name] = Json::object(); }) ==
            ErrorCode::kManifestField);
    }
    for (const auto& definition : {Json(), Json("data"), Json(1), Json::array()}) {
      CHECK(refusal([&](Json& v) { release(v)[kind]["data"] = definition; }) ==
            ErrorCode::kManifestField);
    }
    CHECK(refusal([&](Json& v) { release(v)[kind] = "data"; }) == ErrorCode::kManifestField);
  }
}

TEST_CASE("manifest: a composition or contract is an object and nothing else") {
  for (const std::string key : {"composition", "contract"}) {
    for (const auto& value : {Json("privileged: true"), Json::array(), Json(true)}) {
      CHECK(refusal([&](Json& v) { service(v)[key] = value; }) == ErrorCode::kManifestField);
    }
  }
  CHECK(refusal([](Json& v) {
          service(v)["composition"]["x"] = std::string(bundle::kMaxDocumentBytes, 'x');
        }) == ErrorCode::kManifestField);
}

TEST_CASE("manifest: one image name on the device means one image") {
  const auto add_service = [](Json& v, const std::string& image) {
    auto second = service(v);
    const auto config = v["images"][0]["id"].get<std::string>();
    const auto other = v["images"][0]["manifest"].get<std::string>();
    second["image"] = image;
    release(v)["services"]["second"] = second;
    v["images"].push_back(v["images"][0]);
    v["images"][1]["id"] = other;
    v["images"][1]["manifest"] = config;
    v["service_images"]["second"] = other;
  };
  const std::string digest = "@sha256:" + std::string(64, 'a');
  CHECK(accepted([&](Json& v) { add_service(v, "registry.example/v2/other" + digest); }));
  CHECK(refusal([&](Json& v) {
          const auto name = service(v)["image"].get<std::string>();
          add_service(v, name.substr(0, name.find('@')) + digest);
        }) == ErrorCode::kManifestField);
  // The same image twice under one name is one image.
  CHECK(accepted([](Json& v) {
    release(v)["services"]["second"] = service(v);
    v["service_images"]["second"] = v["service_images"]["main"];
  }));
}

TEST_CASE("manifest: an image's name has a registry, a lower-case path and a digest, no tag") {
  const std::string digest = "@sha256:" + std::string(64, 'a');
  CHECK(accepted([&](Json& v) { service(v)["image"] = "localhost:5000/app" + digest; }));
  for (const std::string name : {"registry/app:1", "registry/App", "registry//app", "registry/app/",
                                 "/app", "app", "registry/a?b", "registry/a%2e", "re gistry/app"}) {
    INFO(name);
    CHECK(refusal([&](Json& v) { service(v)["image"] = name + digest; }) ==
          ErrorCode::kManifestField);
  }
  CHECK(refusal([&](Json& v) {
          service(v)["image"] = "registry/" + std::string(bundle::kMaxNameBytes, 'a') + digest;
        }) == ErrorCode::kManifestField);
}

TEST_CASE("manifest: names of variables and labels are bounded") {
  const std::string longest(bundle::kMaxNameBytes, 'A');
  for (const std::string kind : {"environment", "labels"}) {
    CHECK(accepted([&](Json& v) { service(v)[kind][longest] = "1"; }));
    CHECK(refusal([&](Json& v) { service(v)[kind][longest + "A"] = "1"; }) ==
          ErrorCode::kManifestField);
    CHECK(refusal([&](Json& v) { service(v)[kind][""] = "1"; }) == ErrorCode::kManifestField);
  }
}

TEST_CASE("manifest: the bundle's id is a UUID") {
  for (const std::string id :
       {"", "x", "0B5F6D0E-3A4C-5D1B-9A77-2F8F3E1C9D42", "0b5f6d0e-3a4c-5d1b-9a77-2f8f3e1c9d4",
        "0b5f6d0e-3a4c-5d1b-9a77-2f8f3e1c9d420", "../../../../../etc/passwd"}) {
    INFO(id);
    CHECK(refusal([&](Json& v) { v["id"] = id; }) == ErrorCode::kManifestField);
  }
}

TEST_CASE("manifest: lists and texts beyond their limits are refused") {
  CHECK(refusal([](Json& v) {
          for (std::size_t i = 0; i <= bundle::kMaxDeviceTypes; ++i) {
            v["targets"]["device_types"].push_back("t" + std::to_string(i));
          }
        }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) {
          for (std::size_t i = 0; i <= bundle::kMaxServices; ++i) {
            release(v)["services"]["s" + std::to_string(i)] = service(v);
          }
        }) == ErrorCode::kLimitExceeded);
  CHECK(refusal([](Json& v) {
          for (std::size_t i = 0; i <= bundle::kMaxEnvironment; ++i) {
            service(v)["environment"]["V" + std::to_string(i)] = "";
          }
        }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) {
          service(v)["labels"]["l"] = std::string(bundle::kMaxValueBytes + 1, 'l');
        }) == ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) {
          auto& layers = v["images"][0]["layers"];
          const auto layer = layers[0];
          layers.get_ref<Json::array_t&>().resize(128, layer);
        }) == ErrorCode::kLimitExceeded);
  CHECK(refusal([](Json& v) { v["images"][0]["layers"][0]["installed_bytes"] = INT64_MAX; }) ==
        ErrorCode::kLimitExceeded);
  CHECK(refusal([](Json& v) { v["policy"]["confirm_seconds"] = bundle::kMaxConfirmSeconds + 1; }) ==
        ErrorCode::kManifestField);
  CHECK(refusal([](Json& v) { v["sequence"] = -1; }) == ErrorCode::kManifestField);
}

TEST_CASE("manifest: no field of the example takes a value of another type") {
  const auto flat = example().flatten();
  auto others = Json::parse(R"([null, -1, 0.5, 18446744073709551615, {"a": 1}, [[]]])");
  others.push_back(std::string(300, '.'));
  std::size_t tried = 0;
  for (const auto& [path, original] : flat.items()) {
    // What is below these is handed on as it is.
    if (path.find("/composition/") != std::string::npos ||
        path.find("/contract/") != std::string::npos) {
      continue;
    }
    for (const auto& value : others) {
      // A variable or label may be any text, and flatten() writes empty objects and arrays as null.
      const bool free_text =
          value.is_string() && (path.find("/environment/") != std::string::npos ||
                                path.find("/labels/") != std::string::npos);
      if (free_text || original.is_null()) {
        continue;
      }
      INFO(path << " = " << value.dump().substr(0, 40));
      auto json = example();
      json[Json::json_pointer(path)] = value;
      CHECK_FALSE(bundle::parse_manifest(json.dump()));
      tried += 1;
    }
  }
  CHECK(tried > 300);
}

TEST_CASE("manifest: a text that ends early is refused wherever it ends") {
  const auto text = example().dump();
  REQUIRE(bundle::parse_manifest(text));
  for (std::size_t size = 0; size < text.size(); size += 7) {
    REQUIRE_FALSE(bundle::parse_manifest(text.substr(0, size)));
  }
  CHECK_FALSE(bundle::parse_manifest(text + "{}"));
}
