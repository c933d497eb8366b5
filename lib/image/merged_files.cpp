#include "image/merged_files.hpp"

#include <algorithm>

#include "base/lines.hpp"
#include "base/printable.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr int kMaxLinks = 40;
constexpr std::size_t kMaxPathBytes = 4096;

/// What a path leads to before links are followed.
struct Found {
  ExtNode node;
  std::string path;   // in the file system
  std::size_t parts;  // of the path that lead there
};

using Parts = std::vector<std::string>;

/// Without "." and, as no part in front of one is a link by then, "..".
Parts split(const Parts& directory, std::string_view path) {
  Parts parts = path.starts_with('/') ? Parts() : directory;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string part(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
    if (part == "..") {
      if (!parts.empty()) {
        parts.pop_back();
      }
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
  }
  return parts;
}

/// An overlay's mark for "not there any more" is a device; a hostapp has no others.
bool is_whiteout(const ExtNode& node) {
  return node.kind == NodeKind::kCharDevice;
}

/// Walks down while there are directories. \param layers their paths, top first
Result<std::optional<Found>> walk(const ExtFileSystem& files, std::vector<std::string> layers,
                                  const Parts& parts) {
  std::string relative;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    relative += "/" + parts[i];
    std::vector<std::string> holding;  // the layers that have this directory
    for (const std::string& layer : layers) {
      OU_TRY(const auto node, files.find(layer + relative));
      if (!node) {
        continue;
      }
      if (node->kind == NodeKind::kDirectory) {
        holding.push_back(layer);
        continue;
      }
      if (holding.empty() && !is_whiteout(*node)) {
        return std::optional(Found{*node, layer + relative, i + 1});
      }
      break;
    }
    if (holding.empty()) {
      return std::optional<Found>();
    }
    layers = std::move(holding);
  }
  return std::optional<Found>();  // a directory
}

std::string unquoted(std::string_view value) {
  if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
      value.back() == value.front()) {
    value = value.substr(1, value.size() - 2);
  }
  return std::string(value);
}

}  // namespace

Result<std::optional<std::string>> read_merged_file(const EngineStore& store,
                                                    const StoredImage& image,
                                                    const std::string& path,
                                                    std::uint64_t limit_bytes) {
  OU_TRY(std::vector<std::string> layers, store.layer_paths(image));
  std::ranges::reverse(layers);
  Parts parts = split({}, path);
  for (int links = 0; links < kMaxLinks; ++links) {
    OU_TRY(const auto found, walk(store.files(), layers, parts));
    if (!found) {
      return std::optional<std::string>();
    }
    if (found->node.kind == NodeKind::kFile && found->parts == parts.size()) {
      OU_TRY(std::string text, store.files().read_file(found->path, limit_bytes));
      return std::optional(std::move(text));
    }
    if (found->node.kind != NodeKind::kSymlink) {
      return std::optional<std::string>();
    }
    OU_TRY(std::string target, store.files().read_link(found->node));
    const auto at = parts.begin() + static_cast<std::ptrdiff_t>(found->parts);
    for (auto rest = at; rest != parts.end(); ++rest) {
      target += "/" + *rest;
    }
    if (target.size() > kMaxPathBytes) {
      break;
    }
    parts = split(Parts(parts.begin(), at - 1), target);
  }
  return Error(ErrorCode::kImageInvalid,
               base::printable(path) + " in the image is behind symbolic links without end");
}

std::map<std::string, std::string> parse_settings(std::string_view text) {
  std::map<std::string, std::string> settings;
  while (!text.empty()) {
    std::string_view line = base::take_line(text);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) {
      line.remove_suffix(1);
    }
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos && equals > 0 && line.front() != '#') {
      settings[std::string(line.substr(0, equals))] = unquoted(line.substr(equals + 1));
    }
  }
  return settings;
}

}  // namespace image
