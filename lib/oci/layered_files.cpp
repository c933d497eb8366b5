#include "oci/layered_files.hpp"

#include <algorithm>
#include <vector>

#include "base/printable.hpp"
#include "oci/decoder.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using Node = LayeredFiles::Node;
using Nodes = LayeredFiles::Nodes;

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kMark = ".wh..wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr int kMaxSymlinks = 40;  // as Linux follows

/// The parts of a path, "" and "." left out.
std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t slash = std::min(path.find('/', start), path.size());
    const std::string_view part = path.substr(start, slash - start);
    if (!part.empty() && part != ".") {
      parts.emplace_back(part);
    }
    start = slash + 1;
  }
  return parts;
}

/// "./etc/os-release" as "etc/os-release"; the root as "".
Result<std::string> normal_path(const std::string& name) {
  std::string path;
  for (const std::string& part : parts_of(name)) {
    if (part == "..") {
      return Error(ErrorCode::kImageInvalid, "the layer has the name " +
                                                 base::printable(name, 200) +
                                                 ", which leads out of where it is extracted");
    }
    path += (path.empty() ? "" : "/") + part;
  }
  return path;
}

std::string_view last_part(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string_view parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

void erase_below(Nodes& nodes, const std::string& directory) {
  if (directory.empty()) {
    nodes.clear();
    return;
  }
  // '0' is the character after '/': all that starts with "directory/" lies in between.
  nodes.erase(nodes.lower_bound(directory + "/"), nodes.lower_bound(directory + "0"));
}

/// One layer, before it is laid on those below it.
struct Layer {
  Nodes nodes;
  std::vector<std::string> removed;  // and all below
  std::vector<std::string> opaque;   // directories whose content below is hidden
};

void lay_on(Layer&& upper, Nodes& nodes) {
  for (const std::string& path : upper.removed) {
    nodes.erase(path);
    erase_below(nodes, path);
  }
  for (const std::string& directory : upper.opaque) {
    erase_below(nodes, directory);
  }
  for (auto& [path, node] : upper.nodes) {
    if (node.kind != TarEntry::Kind::kDirectory) {
      erase_below(nodes, path);
    }
    nodes.insert_or_assign(path, std::move(node));
  }
}

Result<std::string> read_content(TarReader& reader, std::uint64_t size_bytes) {
  base::Bytes content(size_bytes);
  std::size_t filled = 0;
  while (filled < content.size()) {
    OU_TRY(const std::size_t got, reader.read(std::span(content).subspan(filled)));
    if (got == 0) {
      return Error(ErrorCode::kImageInvalid, "the layer ends inside a file");
    }
    filled += got;
  }
  return std::string(base::as_text(content));
}

/// What a hard link links to: in its own layer, else below.
Result<Node> linked(const TarEntry& entry, const Layer& layer, const Nodes& below) {
  OU_TRY(const std::string target, normal_path(entry.link_target));
  for (const Nodes* nodes : {&layer.nodes, &below}) {
    if (const auto found = nodes->find(target); found != nodes->end()) {
      return found->second;
    }
  }
  return Error(ErrorCode::kImageInvalid,
               "the layer has the hard link " + base::printable(entry.name, 200) + " to " +
                   base::printable(entry.link_target, 200) + ", which does not exist");
}

Result<Layer> read_layer(TarReader& reader, const Nodes& below,
                         const std::function<bool(std::string_view)>& keep,
                         base::ProgressSink& progress) {
  Layer layer;
  for (;;) {
    OU_TRY(const auto entry, reader.next());
    if (!entry) {
      return layer;
    }
    OU_TRY(const std::string path, normal_path(entry->name));
    const std::string_view name = last_part(path);
    if (name == kOpaque) {
      layer.opaque.emplace_back(parent_of(path));
    } else if (name.starts_with(kMark) || path.empty()) {
      continue;  // bookkeeping of AUFS, or the root itself
    } else if (name.starts_with(kWhiteout)) {
      layer.removed.push_back(path.substr(0, path.size() - name.size()) +
                              std::string(name.substr(kWhiteout.size())));
    } else if (entry->kind == TarEntry::Kind::kHardlink) {
      OU_TRY(Node node, linked(*entry, layer, below));
      layer.nodes.insert_or_assign(path, std::move(node));
    } else {
      Node node{entry->kind, 0, entry->link_target, std::nullopt};
      if (entry->kind == TarEntry::Kind::kFile) {
        node.size_bytes = entry->size_bytes;
        if (entry->size_bytes <= LayeredFiles::kMaxContentBytes && keep(name)) {
          OU_TRY(node.content, read_content(reader, entry->size_bytes));
        }
      }
      layer.nodes.insert_or_assign(path, std::move(node));
    }
    if (layer.nodes.size() + layer.removed.size() + layer.opaque.size() + below.size() >
        LayeredFiles::kMaxNodes) {
      return Error(ErrorCode::kLimitExceeded,
                   "the image has more than " + std::to_string(LayeredFiles::kMaxNodes) + " files");
    }
    progress.advance(entry->size_bytes);
  }
}

}  // namespace

Result<LayeredFiles> LayeredFiles::read(const ImageSource& image,
                                        const std::function<bool(std::string_view)>& keep,
                                        base::ProgressSink& progress) {
  LayeredFiles files;
  for (std::size_t i = 0; i < image.config().diff_ids.size(); ++i) {
    const std::string name = "layer " + std::to_string(i + 1);
    OU_TRY(auto stored, image.open_layer(i));
    OU_TRY(auto plain, open_decoder(std::move(stored)).within(name));
    TarReader reader(std::move(plain));
    OU_TRY(Layer layer, read_layer(reader, files.nodes_, keep, progress).within(name));
    lay_on(std::move(layer), files.nodes_);
  }
  return files;
}

const Node* LayeredFiles::resolve(const std::string& path) const {
  std::vector<std::string> todo = parts_of(path);  // what is still to walk, next one last
  std::reverse(todo.begin(), todo.end());
  std::string at;
  const Node* node = nullptr;
  int followed = 0;
  while (!todo.empty()) {
    const std::string part = std::move(todo.back());
    todo.pop_back();
    if (part == "..") {
      at = parent_of(at);
      node = nullptr;
      continue;
    }
    const std::string next = at.empty() ? part : at + "/" + part;
    const auto found = nodes_.find(next);
    node = found == nodes_.end() ? nullptr : &found->second;
    if (node != nullptr && node->kind == TarEntry::Kind::kSymlink) {
      if (++followed > kMaxSymlinks) {
        return nullptr;
      }
      if (node->link_target.starts_with('/')) {
        at.clear();
      }
      const auto target = parts_of(node->link_target);
      todo.insert(todo.end(), target.rbegin(), target.rend());
      node = nullptr;
      continue;
    }
    at = next;  // a directory need not have an entry of its own in a layer
  }
  return node;
}

}  // namespace oci
