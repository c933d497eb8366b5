#include "oci/stored_image.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;

class StoredImage final : public ImageSource {
 public:
  StoredImage(std::shared_ptr<const NamedFiles> files, std::string config_bytes, ImageConfig config,
              std::vector<std::string> layer_names)
      : files_(std::move(files)),
        config_bytes_(std::move(config_bytes)),
        config_(std::move(config)),
        layer_names_(std::move(layer_names)) {}

  [[nodiscard]] const std::string& config_bytes() const override { return config_bytes_; }
  [[nodiscard]] const ImageConfig& config() const override { return config_; }
  [[nodiscard]] base::Result<std::unique_ptr<ByteSource>> open_layer(
      std::size_t index) const override {
    if (index >= layer_names_.size()) {
      return Error(ErrorCode::kNotFound, "the image has no layer " + std::to_string(index));
    }
    return files_->open(layer_names_[index]).within("layer " + std::to_string(index));
  }

 private:
  std::shared_ptr<const NamedFiles> files_;
  std::string config_bytes_;
  ImageConfig config_;
  std::vector<std::string> layer_names_;
};

}  // namespace

base::Result<std::unique_ptr<ImageSource>> make_stored_image(
    std::shared_ptr<const NamedFiles> files, std::string config_bytes,
    std::vector<std::string> layer_names) {
  OU_TRY(ImageConfig config, parse_image_config(config_bytes));
  if (config.diff_ids.size() != layer_names.size()) {
    return Error(ErrorCode::kImageInvalid,
                 "the image configuration has " + std::to_string(config.diff_ids.size()) +
                     " diff IDs, but there are " + std::to_string(layer_names.size()) +
                     " layers: the image is damaged, save it again");
  }
  return std::unique_ptr<ImageSource>(std::make_unique<StoredImage>(
      std::move(files), std::move(config_bytes), std::move(config), std::move(layer_names)));
}

std::string familiar_reference(std::string reference) {
  for (const std::string_view prefix : {"docker.io/", "index.docker.io/", "library/"}) {
    if (reference.starts_with(prefix)) {
      reference.erase(0, prefix.size());
    }
  }
  const std::size_t last = reference.rfind('/');
  if (reference.find_first_of(":@", last == std::string::npos ? 0 : last) == std::string::npos) {
    reference += ":latest";
  }
  return reference;
}

}  // namespace oci
