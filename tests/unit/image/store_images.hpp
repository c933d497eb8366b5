// Images for tests of the store, and what a file system has after it was written.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ext_images.hpp"
#include "image/store_writer.hpp"
#include "support/byte_sources.hpp"
#include "support/image_builder.hpp"
#include "support/tar_builder.hpp"

namespace support {

/// An image in memory.
class MemoryImage final : public oci::ImageSource {
 public:
  explicit MemoryImage(TestImage image)
      : image_(std::move(image)), config_(*oci::parse_image_config(image_.config)) {}
  [[nodiscard]] const std::string& config_bytes() const override { return image_.config; }
  [[nodiscard]] const oci::ImageConfig& config() const override { return config_; }
  [[nodiscard]] base::Result<std::unique_ptr<oci::ByteSource>> open_layer(
      std::size_t index) const override {
    return std::unique_ptr<oci::ByteSource>(std::make_unique<TextSource>(image_.layers.at(index)));
  }

 private:
  TestImage image_;
  oci::ImageConfig config_;
};

inline image::NewImage new_image(std::vector<std::string> layers,
                                 std::vector<std::string> references = {"shop/web:latest"}) {
  return {"web",
          std::make_shared<MemoryImage>(make_image(std::move(layers))),
          std::move(references),
          {}};
}

/// Writes images into a file system and closes it.
inline base::Status write_store(const GuardedImage& disk,
                                const std::vector<image::NewImage>& images) {
  base::NoProgress progress;
  OU_TRY(auto files,
         image::ExtFileSystem::open(disk.range(), image::ExtFileSystem::Access::kChange));
  OU_CHECK(image::write_images(files, "docker", images, progress));
  return files.close();
}

/// Where the tree of an image's layer is. \param index 0 is the bottom
inline std::string diff_path(const image::NewImage& image, std::size_t index) {
  const auto& diff_ids = image.source->config().diff_ids;
  std::string chain = diff_ids[0].text();
  for (std::size_t i = 1; i <= index; ++i) {
    chain = oci::Digest::of(base::as_bytes(chain + " " + diff_ids[i].text())).text();
  }
  return "docker/overlay2/" + chain.substr(7) + "/diff";
}

/// What stat says of a path in it, as debugfs shows it.
inline std::string stat_of(const GuardedImage& disk, const std::string& path) {
  return must_run({"debugfs", "-R", "stat \"/" + path + "\"", disk.name()});
}

}  // namespace support
