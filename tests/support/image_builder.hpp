// Small images for tests, written in every form that tools write.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "oci/digest.hpp"

namespace support {

/// An image in memory: its layers as plain tar, bottom first, and the configuration that fits them.
struct TestImage {
  std::string config;
  std::vector<std::string> layers;

  [[nodiscard]] oci::Digest id() const { return digest_of(config); }
  static oci::Digest digest_of(const std::string& bytes) {
    return oci::Digest::of(base::as_bytes(bytes));
  }
};

/// \param layers plain tars, bottom first
TestImage make_image(std::vector<std::string> layers, const std::string& architecture = "amd64",
                     const std::string& variant = "");

/// Two layers, the upper one with a whiteout. The seed makes images differ.
TestImage small_image(unsigned seed = 1, const std::string& architecture = "amd64",
                      const std::string& variant = "");

struct NamedImage {
  TestImage image;
  std::vector<std::string> references;
};

/// As engines up to 24 save: <id>/layer.tar, a layer that comes a second time is a symbolic link.
std::string legacy_docker_archive(const std::vector<NamedImage>& images);

/// As skopeo and buildah write: <hex>.json and <hex>.tar.
std::string skopeo_docker_archive(const std::vector<NamedImage>& images);

/// Writes an OCI image layout piece by piece.
class LayoutBuilder {
 public:
  explicit LayoutBuilder(std::filesystem::path directory);

  enum class Layers { kPlain, kGzip, kZstd };
  /// Adds blobs and manifest. \return the descriptor as JSON text, for add() or index()
  [[nodiscard]] std::string image(const TestImage& image, Layers layers = Layers::kGzip,
                                  const std::string& platform = "") const;
  /// Adds an index of descriptors. \return its descriptor
  [[nodiscard]] std::string index(const std::vector<std::string>& descriptors) const;
  /// Puts a descriptor into index.json under a name; empty: no name.
  void add(const std::string& descriptor, const std::string& name = "");
  /// Writes a blob. \return its digest
  [[nodiscard]] oci::Digest blob(const std::string& bytes) const;
  [[nodiscard]] std::filesystem::path blob_path(const oci::Digest& digest) const;
  [[nodiscard]] const std::filesystem::path& path() const { return directory_; }
  /// The whole layout as a tar. With `docker` it also has the manifest.json that engines since 25
  /// put beside it, which the text is.
  [[nodiscard]] std::string to_tar(const std::string& docker = "") const;

 private:
  std::filesystem::path directory_;
  std::vector<std::string> entries_;
};

}  // namespace support
