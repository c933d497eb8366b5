#include "image/stored_layers.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "base/printable.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::uint64_t kMaxSmallFileBytes = 256;
constexpr std::size_t kMaxDirectoryEntries = 4'000'000;
constexpr std::size_t kMaxKeptEntries = 1'000'000;
constexpr std::size_t kMaxKeptDirectories = 4096;

Error invalid(const std::string& what) {
  return {ErrorCode::kImageInvalid, what};
}

/// A short file of the store; nothing when it is not there.
Result<std::optional<std::string>> read_small(const ExtFileSystem& files, const std::string& path) {
  auto text = files.read_file(path, kMaxSmallFileBytes);
  if (text) {
    return std::optional(*std::move(text));
  }
  if (text.error().code() == ErrorCode::kNotFound) {
    return std::optional<std::string>();
  }
  return std::move(text).error();
}

/// \return the content of a file that has to be there
Result<std::string> require_small(const ExtFileSystem& files, const std::string& path) {
  OU_TRY(auto text, read_small(files, path));
  if (!text) {
    return invalid("the store has no " + path);
  }
  return *std::move(text);
}

/// Engines write 64 hexadecimal digits, and take other text: but a path must not come of it.
bool is_plain_name(std::string_view text) {
  return !text.empty() && text.size() <= 255 && text.front() != '.' &&
         text.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
             std::string_view::npos;
}

Result<std::uint64_t> parse_size(const std::string& text) {
  std::uint64_t size = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (failure != std::errc() || end != text.data() + text.size() || size > INT64_MAX) {
    return invalid("the store has the size \"" + base::printable(text) + "\" for it");
  }
  return size;
}

oci::Digest chain_id(const std::optional<oci::Digest>& parent, const oci::Digest& diff_id) {
  return parent ? oci::Digest::of(base::as_bytes(parent->text() + " " + diff_id.text())) : diff_id;
}

Status check_parent(const ExtFileSystem& files, const std::string& metadata,
                    const std::optional<oci::Digest>& parent) {
  OU_TRY(const auto found, read_small(files, metadata + "/parent"));
  const std::string expected = parent ? parent->text() : "";
  if (found.value_or("") != expected) {
    return invalid("the store names another layer below it than the image does");
  }
  return base::ok();
}

Result<StoredLayer> find_layer(const ExtFileSystem& files, const std::string& root,
                               const oci::Digest& diff_id,
                               const std::optional<oci::Digest>& parent) {
  const std::string metadata =
      root + "/image/overlay2/layerdb/sha256/" + chain_id(parent, diff_id).hex();
  OU_TRY(const std::string found, require_small(files, metadata + "/diff"));
  if (found != diff_id.text()) {
    return invalid("the store has another diff ID for it");
  }
  OU_CHECK(check_parent(files, metadata, parent));
  OU_TRY(const std::string size_text, require_small(files, metadata + "/size"));
  OU_TRY(const std::uint64_t size, parse_size(size_text));
  OU_TRY(const std::string cache_id, require_small(files, metadata + "/cache-id"));
  if (!is_plain_name(cache_id)) {
    return invalid("the store has the directory name \"" + base::printable(cache_id) +
                   "\" for it, which no engine makes");
  }
  const std::string diff = root + "/overlay2/" + cache_id + "/diff";
  OU_TRY(const auto directory, files.find(diff));
  if (!directory || directory->kind != NodeKind::kDirectory) {
    return invalid("the store has no directory " + diff);
  }
  return StoredLayer{metadata, diff, size, *directory};
}

/// Directories as they were listed, so that a directory of any number of files is read once.
class Listings {
 public:
  explicit Listings(std::shared_ptr<const ExtFileSystem> files) : files_(std::move(files)) {}

  /// The inode of `name`; nothing if there is none. \param directory inode of a directory
  Result<std::optional<std::uint32_t>> find(std::uint32_t directory, std::string_view name) {
    OU_TRY(const std::vector<ExtEntry>* entries, list(directory));
    const auto found = std::ranges::lower_bound(
        *entries, name, {}, [](const ExtEntry& entry) -> std::string_view { return entry.name; });
    return found == entries->end() || found->name != name ? std::nullopt
                                                          : std::optional(found->inode);
  }

 private:
  struct Kept {
    std::vector<ExtEntry> entries;  // by name
    std::uint64_t used;             // when, in calls
  };

  Result<const std::vector<ExtEntry>*> list(std::uint32_t directory) {
    ++clock_;
    if (const auto kept = kept_.find(directory); kept != kept_.end()) {
      kept->second.used = clock_;
      return &kept->second.entries;
    }
    OU_TRY(const ExtNode node, files_->node(directory));
    OU_TRY(std::vector<ExtEntry> entries, files_->list(node, kMaxDirectoryEntries));
    make_room(entries.size());
    kept_entries_ += entries.size();
    return &kept_.emplace(directory, Kept{std::move(entries), clock_}).first->second.entries;
  }

  void make_room(std::size_t more) {
    while (!kept_.empty() &&
           (kept_entries_ + more > kMaxKeptEntries || kept_.size() >= kMaxKeptDirectories)) {
      const auto oldest = std::ranges::min_element(
          kept_, {}, [](const auto& directory) { return directory.second.used; });
      kept_entries_ -= oldest->second.entries.size();
      kept_.erase(oldest);
    }
  }

  std::shared_ptr<const ExtFileSystem> files_;
  std::map<std::uint32_t, Kept> kept_;  // by inode
  std::size_t kept_entries_ = 0;
  std::uint64_t clock_ = 0;
};

class LayerDirectory final : public LayerContent {
 public:
  LayerDirectory(std::shared_ptr<const ExtFileSystem> files, const ExtNode& directory)
      : files_(files), listings_(std::move(files)), root_(directory) {}

  Result<std::unique_ptr<oci::ByteSource>> open(const std::string& name,
                                                std::uint64_t size_bytes) override {
    OU_TRY(const auto parts, split_layer_path(name));
    ExtNode at = root_;
    for (const std::string_view part : parts) {
      if (at.kind != NodeKind::kDirectory) {
        return missing(name);
      }
      OU_TRY(const auto inode, listings_.find(at.inode, part));
      if (!inode) {
        return missing(name);
      }
      OU_TRY(at, files_->node(*inode));
    }
    if (at.kind != NodeKind::kFile) {
      return missing(name);
    }
    if (at.size_bytes != size_bytes) {
      return invalid(base::printable(name) + " has " + std::to_string(at.size_bytes) +
                     " bytes and its layer's record says " + std::to_string(size_bytes));
    }
    return files_->open_file(at);
  }

 private:
  static Error missing(const std::string& name) {
    return invalid("the layer has no file " + base::printable(name) + ", and its record names one");
  }

  std::shared_ptr<const ExtFileSystem> files_;
  Listings listings_;
  ExtNode root_;
};

}  // namespace

Result<std::vector<StoredLayer>> find_stored_layers(const ExtFileSystem& files,
                                                    const std::string& root,
                                                    const oci::ImageConfig& config,
                                                    LayersByChainId& known) {
  std::vector<StoredLayer> layers;
  std::optional<oci::Digest> parent;
  for (const oci::Digest& diff_id : config.diff_ids) {
    const oci::Digest chain = chain_id(parent, diff_id);
    auto found = known.find(chain);
    if (found == known.end()) {
      OU_TRY(StoredLayer layer, find_layer(files, root, diff_id, parent)
                                    .within("layer " + std::to_string(layers.size() + 1) + " of " +
                                            std::to_string(config.diff_ids.size())));
      found = known.emplace(chain, std::move(layer)).first;
    }
    layers.push_back(found->second);
    parent = chain;
  }
  return layers;
}

std::unique_ptr<LayerContent> open_layer_directory(std::shared_ptr<const ExtFileSystem> files,
                                                   const ExtNode& directory) {
  return std::make_unique<LayerDirectory>(std::move(files), directory);
}

}  // namespace image
