#include "support/image_builder.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "base/json.hpp"
#include "oci/image_config.hpp"
#include "support/tar_builder.hpp"

namespace support {
namespace {

using base::Json;

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Json descriptor(std::string_view media_type, const oci::Digest& digest, std::size_t size) {
  return {{"mediaType", media_type}, {"digest", digest.text()}, {"size", size}};
}

}  // namespace

TestImage make_image(std::vector<std::string> layers, const std::string& architecture,
                     const std::string& variant) {
  Json diff_ids = Json::array();
  for (const auto& layer : layers) {
    diff_ids.push_back(TestImage::digest_of(layer).text());
  }
  Json config{{"architecture", architecture},
              {"os", "linux"},
              {"config", {{"Cmd", {"/bin/true"}}}},
              {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}};
  if (!variant.empty()) {
    config["variant"] = variant;
  }
  return {config.dump(), std::move(layers)};
}

TestImage small_image(unsigned seed, const std::string& architecture, const std::string& variant) {
  std::string bottom = TarBuilder()
                           .directory("bin")
                           .file("bin/true", noise(5000, seed), 0755)
                           .symlink("bin/yes", "true")
                           .finish();
  std::string top =
      TarBuilder().directory("bin").whiteout("bin/yes").file("etc", "release").finish();
  return make_image({std::move(bottom), std::move(top)}, architecture, variant);
}

std::string legacy_docker_archive(const std::vector<NamedImage>& images) {
  TarBuilder tar;
  Json manifest = Json::array();
  std::map<std::string, std::string> stored;  // diff ID to the member that has the data
  for (const auto& [image, references] : images) {
    Json names = Json::array();
    for (std::size_t i = 0; i < image.layers.size(); ++i) {
      const std::string id =
          TestImage::digest_of(image.config + std::to_string(i)).hex();  // as good as a v1 ID
      const std::string name = id + "/layer.tar";
      tar.directory(id).file(id + "/VERSION", "1.0").file(id + "/json", "{}");
      const auto [known, is_new] =
          stored.emplace(TestImage::digest_of(image.layers[i]).hex(), name);
      if (is_new) {
        tar.file(name, image.layers[i]);
      } else {
        tar.symlink(name, "../" + known->second);
      }
      names.push_back(name);
    }
    tar.file(image.id().hex() + ".json", image.config);
    manifest.push_back({{"Config", image.id().hex() + ".json"},
                        {"RepoTags", references.empty() ? Json() : Json(references)},
                        {"Layers", names}});
  }
  return tar.file("manifest.json", manifest.dump()).finish();
}

std::string skopeo_docker_archive(const std::vector<NamedImage>& images) {
  TarBuilder tar;
  Json manifest = Json::array();
  std::set<std::string> stored;
  for (const auto& [image, references] : images) {
    Json names = Json::array();
    for (const auto& layer : image.layers) {
      names.push_back(TestImage::digest_of(layer).hex() + ".tar");
      if (stored.insert(names.back()).second) {
        tar.file(names.back(), layer);
      }
    }
    tar.file(image.id().hex() + ".json", image.config);
    manifest.push_back(
        {{"Config", image.id().hex() + ".json"}, {"RepoTags", references}, {"Layers", names}});
  }
  return tar.file("manifest.json", manifest.dump()).finish();
}

LayoutBuilder::LayoutBuilder(std::filesystem::path directory) : directory_(std::move(directory)) {
  write(directory_ / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
}

std::string LayoutBuilder::image(const TestImage& image, Layers layers,
                                 const std::string& platform) const {
  Json layer_list = Json::array();
  for (const auto& layer : image.layers) {
    const std::string stored = layers == Layers::kPlain  ? layer
                               : layers == Layers::kGzip ? gzip(layer)
                                                         : zstd(layer);
    const auto type = layers == Layers::kPlain  ? oci::kOciLayerTar
                      : layers == Layers::kGzip ? oci::kOciLayerGzip
                                                : oci::kOciLayerZstd;
    layer_list.push_back(descriptor(type, blob(stored), stored.size()));
  }
  const Json manifest{
      {"schemaVersion", 2},
      {"mediaType", oci::kOciManifestType},
      {"config", descriptor(oci::kOciConfigType, blob(image.config), image.config.size())},
      {"layers", layer_list}};
  const std::string text = manifest.dump();
  Json entry = descriptor(oci::kOciManifestType, blob(text), text.size());
  if (!platform.empty()) {
    const std::size_t first = platform.find('/');
    const std::size_t second = platform.find('/', first + 1);
    entry["platform"] = {{"os", platform.substr(0, first)},
                         {"architecture", platform.substr(first + 1, second - first - 1)}};
    if (second != std::string::npos) {
      entry["platform"]["variant"] = platform.substr(second + 1);
    }
  }
  return entry.dump();
}

std::string LayoutBuilder::index(const std::vector<std::string>& descriptors) const {
  Json list = Json::array();
  for (const auto& entry : descriptors) {
    list.push_back(Json::parse(entry));
  }
  const std::string text =
      Json{{"schemaVersion", 2}, {"mediaType", oci::kOciIndexType}, {"manifests", list}}.dump();
  return descriptor(oci::kOciIndexType, blob(text), text.size()).dump();
}

void LayoutBuilder::add(const std::string& descriptor, const std::string& name) {
  Json entry = Json::parse(descriptor);
  if (!name.empty()) {
    entry["annotations"]["org.opencontainers.image.ref.name"] = name;
  }
  entries_.push_back(entry.dump());
  Json list = Json::array();
  for (const auto& text : entries_) {
    list.push_back(Json::parse(text));
  }
  write(directory_ / "index.json", Json{{"schemaVersion", 2}, {"manifests", list}}.dump());
}

oci::Digest LayoutBuilder::blob(const std::string& bytes) const {
  const oci::Digest digest = TestImage::digest_of(bytes);
  write(blob_path(digest), bytes);
  return digest;
}

std::filesystem::path LayoutBuilder::blob_path(const oci::Digest& digest) const {
  return directory_ / "blobs" / "sha256" / digest.hex();
}

std::string LayoutBuilder::to_tar(const std::string& docker) const {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_)) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  TarBuilder tar;
  for (const auto& file : files) {
    tar.file(file.lexically_relative(directory_).string(), read(file));
  }
  if (!docker.empty()) {
    tar.file("manifest.json", docker);
  }
  return tar.finish();
}

}  // namespace support
