// Reads an image source to the end, as a bundle's writer does.
#pragma once

#include <string>
#include <vector>

#include "oci/decoder.hpp"
#include "oci/image_source.hpp"
#include "support/byte_sources.hpp"

namespace support {

struct ReadImage {
  oci::Digest id;
  std::vector<oci::Digest> announced;  // the configuration's diff IDs
  std::vector<oci::Digest> found;      // what the layers really are
};

inline base::Result<ReadImage> read_image(const std::string& source,
                                          const std::filesystem::path& scratch,
                                          const std::string& platform = "") {
  OU_TRY(const auto image, oci::open_image_source(source, scratch, platform));
  ReadImage out{
      oci::Digest::of(base::as_bytes(image->config_bytes())), image->config().diff_ids, {}};
  for (std::size_t i = 0; i < out.announced.size(); ++i) {
    OU_TRY(auto stored, image->open_layer(i));
    OU_TRY(const auto plain, oci::open_decoder(std::move(stored)));
    OU_TRY(const std::string bytes, read_all(*plain));
    out.found.push_back(oci::Digest::of(base::as_bytes(bytes)));
  }
  return out;
}

}  // namespace support
