// An engine's overlay2 store made by hand, as a directory tree that mke2fs puts into a file system;
// with a record (tar-split) of each layer's archive made from the archive's own blocks.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "image/crc64.hpp"
#include "oci/digest.hpp"
#include "support/scratch.hpp"
#include "support/tar_builder.hpp"

namespace support {

/// One line of a record.
inline std::string segment_line(std::size_t position, std::string_view bytes) {
  return base::Json{{"type", 2},
                    {"payload", base::to_base64(base::as_bytes(bytes))},
                    {"position", position}}
             .dump() +
         "\n";
}
inline std::string file_line(std::size_t position, const std::string& name,
                             std::string_view content) {
  image::Crc64 crc;
  crc.update(base::as_bytes(content));
  base::Json line = {{"type", 1}, {"name", name}, {"payload", nullptr}, {"position", position}};
  if (!content.empty()) {
    line["size"] = content.size();
    line["payload"] = base::to_base64(crc.value());
  }
  return line.dump() + "\n";
}

/// The lines for an archive of plain ustar entries, GNU long names and pax headers with a path.
inline std::string record_of(const std::string& tar) {
  std::string lines;
  std::size_t position = 0;
  std::string segment;
  std::string long_name;
  const auto octal = [&](std::size_t at, std::size_t size) {
    return std::stoull("0" + tar.substr(at, size), nullptr, 8);
  };
  std::size_t at = 0;
  while (at + 512 <= tar.size() && tar[at] != '\0') {
    const std::size_t size = octal(at + 124, 11);
    const std::size_t padded = (size + 511) / 512 * 512;
    const char type = tar[at + 156];
    const std::string content = tar.substr(at + 512, size);
    segment += tar.substr(at, 512);
    const bool extra = type == 'x' || type == 'L' || type == 'K' || type == 'g';
    if (extra) {
      const std::size_t path = content.find(" path=");
      long_name = type == 'L' ? content.substr(0, content.find('\0'))
                  : type == 'x' && path != std::string::npos
                      ? content.substr(path + 6, content.find('\n', path) - path - 6)
                      : long_name;
      segment += tar.substr(at + 512, padded);
    } else {
      const std::string short_name = tar.substr(at, 100).c_str();
      lines += segment_line(position++, segment);
      segment.clear();
      lines += file_line(position++, long_name.empty() ? short_name : long_name, content);
      long_name.clear();
      segment = tar.substr(at + 512 + size, padded - size);
    }
    at += 512 + padded;
  }
  return lines + segment_line(position, segment + tar.substr(at));
}

struct TreeLayer {
  std::vector<std::pair<std::string, std::string>> files;  // name, content

  [[nodiscard]] std::string tar() const {
    TarBuilder builder;
    for (const auto& [name, content] : files) {
      builder.file(name, content);
    }
    return builder.finish();
  }
};

class StoreTree {
 public:
  /// \param root the data root, such as TREE/docker
  explicit StoreTree(std::filesystem::path root) : root_(std::move(root)) {}

  /// \return the image's ID
  oci::Digest add(const std::vector<TreeLayer>& layers, const std::vector<std::string>& names) {
    base::Json diff_ids = base::Json::array();
    std::string chain;
    for (const TreeLayer& layer : layers) {
      const std::string diff_id = oci::Digest::of(base::as_bytes(layer.tar())).text();
      diff_ids.push_back(diff_id);
      const std::string parent = chain;
      chain =
          parent.empty() ? diff_id : oci::Digest::of(base::as_bytes(parent + " " + diff_id)).text();
      write_layer(layer, chain, parent, diff_id);
    }
    const std::string config = base::Json{{"architecture", "amd64"},
                                          {"os", "linux"},
                                          {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}}
                                   .dump();
    const oci::Digest id = oci::Digest::of(base::as_bytes(config));
    write("image/overlay2/imagedb/content/sha256/" + id.hex(), config);
    for (const std::string& name : names) {
      const std::size_t slash = name.rfind('/');
      const std::string repository =
          name.substr(0, name.find_first_of(":@", slash == std::string::npos ? 0 : slash));
      repositories_[repository][name] = id.text();
    }
    write("image/overlay2/repositories.json", base::Json{{"Repositories", repositories_}}.dump());
    last_chain_ = chain.substr(7);
    return id;
  }

  void write(const std::string& path, std::string_view content) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path, std::ios::binary) << content;
  }
  /// layerdb's directory of the top layer of the image that was added last.
  [[nodiscard]] std::string last_layer() const {
    return "image/overlay2/layerdb/sha256/" + last_chain_;
  }
  /// The extracted files of that layer.
  [[nodiscard]] std::string last_diff() const { return "overlay2/" + last_chain_ + "/diff"; }
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }

 private:
  void write_layer(const TreeLayer& layer, const std::string& chain, const std::string& parent,
                   const std::string& diff_id) const {
    const std::string hex = chain.substr(7);
    const std::string metadata = "image/overlay2/layerdb/sha256/" + hex;
    std::size_t size = 0;
    std::filesystem::create_directories(root_ / "overlay2" / hex / "diff");
    for (const auto& [name, content] : layer.files) {
      size += content.size();
      write("overlay2/" + hex + "/diff/" + name, content);
    }
    write(metadata + "/diff", diff_id);
    write(metadata + "/size", std::to_string(size));
    write(metadata + "/cache-id", hex);
    if (!parent.empty()) {
      write(metadata + "/parent", parent);
    }
    write(metadata + "/tar-split.json.gz", gzip(record_of(layer.tar())));
  }

  std::filesystem::path root_;
  base::Json repositories_ = base::Json::object();
  std::string last_chain_;
};

}  // namespace support
