// A bundle of one image, made by hand, as a registry serves it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "install/loopback_registry.hpp"
#include "intake/medium_chunks.hpp"
#include "oci/image_config.hpp"
#include "support/scratch.hpp"
#include "support/stored_blob.hpp"

namespace support {

/// The files are below `scratch`; `manifest` lists them.
struct ServedBundle {
  /// \param stored the layers, bottom first
  explicit ServedBundle(std::vector<StoredBlob> stored)
      : config(plain_blob(config_of(stored), 64)), layers(std::move(stored)) {
    bundle::Image image{config.blob.digest, config.blob.digest, "amd64", "linux", "", {}};
    add(config);
    for (const auto& layer : layers) {
      add(layer);
      image.layers.push_back({layer.blob.uncompressed_digest, layer.blob.digest, 0, 0});
    }
    manifest.images.push_back(image);
  }

  [[nodiscard]] base::UntrustedDirectory open() const {
    return *base::UntrustedDirectory::open(scratch.path());
  }
  [[nodiscard]] const bundle::Image& image() const { return manifest.images.front(); }
  /// The image manifest that has to be served, byte for byte.
  [[nodiscard]] std::string served_manifest() const {
    std::vector<oci::Digest> diff_ids;
    std::vector<std::uint64_t> sizes;
    for (const auto& layer : layers) {
      diff_ids.push_back(layer.blob.uncompressed_digest);
      sizes.push_back(layer.uncompressed.size());
    }
    return oci::served_manifest(config.blob.digest, config.stored.size(), diff_ids, sizes);
  }

  Scratch scratch;
  StoredBlob config;
  std::vector<StoredBlob> layers;
  bundle::Manifest manifest;

 private:
  static std::string config_of(const std::vector<StoredBlob>& stored) {
    std::string diff_ids;
    for (const auto& layer : stored) {
      diff_ids += (diff_ids.empty() ? "\"" : ",\"") + layer.blob.uncompressed_digest.text() + "\"";
    }
    return R"({"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/true"]},)"
           R"("rootfs":{"type":"layers","diff_ids":[)" +
           diff_ids + "]}}";
  }
  void add(const StoredBlob& blob) {
    blob.write_to(scratch.path());
    manifest.blobs.emplace(blob.blob.digest, blob.blob);
  }
};

/// The same behind a running registry.
struct RunningRegistry {
  explicit RunningRegistry(const ServedBundle& bundle,
                           const agent::install::RegistryAddress& address = {},
                           std::chrono::seconds wait_limit = std::chrono::seconds(60),
                           std::function<void(bool)> on_wait = {})
      : RunningRegistry(bundle.manifest, bundle.open(), address, wait_limit, std::move(on_wait)) {}
  /// The same with the medium somewhere else.
  RunningRegistry(const bundle::Manifest& manifest, base::UntrustedDirectory medium,
                  const agent::install::RegistryAddress& address = {},
                  std::chrono::seconds wait_limit = std::chrono::seconds(60),
                  std::function<void(bool)> on_wait = {})
      : chunks(std::move(medium), wait_limit, std::move(on_wait)) {
    auto started = agent::install::LoopbackRegistry::start(address, manifest, chunks);
    if (!started) {
      throw std::runtime_error(started.error().message());
    }
    registry = *std::move(started);
  }
  RunningRegistry(const RunningRegistry&) = delete;
  RunningRegistry& operator=(const RunningRegistry&) = delete;
  ~RunningRegistry() { chunks.stop(); }

  [[nodiscard]] std::uint16_t port() const { return registry->address().port; }
  /// "/v2/TOKEN/app/" and what follows.
  [[nodiscard]] std::string path(const std::string& rest) const {
    return "/v2/" + registry->address().token + "/app/" + rest;
  }
  [[nodiscard]] std::string blob_path(const oci::Digest& digest) const {
    return path("blobs/" + digest.text());
  }

  agent::intake::MediumChunks chunks;
  std::unique_ptr<agent::install::LoopbackRegistry> registry;
};

}  // namespace support
