#include "image/layer_extractor.hpp"

#include <deque>
#include <optional>

#include "base/printable.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kOtherMarks = ".wh..wh.";  // of aufs: hard links and the like
constexpr std::size_t kMaxFollowed = 40;              // as Linux; \source path_resolution(7)
constexpr std::uint32_t kParentPermissions = 0755;

Error refused(const LayerEntry& entry, const std::string& what) {
  return {ErrorCode::kImageInvalid, "layer entry " + base::printable(entry.name, 300) + " " + what +
                                        ": no engine extracts this, build the image again"};
}

std::vector<std::string> split(const std::string& path) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  while (at <= path.size()) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    if (slash > at) {
      parts.push_back(path.substr(at, slash - at));
    }
    at = slash + 1;
  }
  return parts;
}

/// The parts of a name without "." and "..". An engine that unpacks a layer takes its directory for
/// the root, above which nothing is; the same engine looks for the names from outside when it saves
/// the image, and would find what is not of the layer. \return nothing when it leads above the root
std::optional<std::vector<std::string>> normal_parts(const std::string& path) {
  std::vector<std::string> parts;
  for (std::string& part : split(path)) {
    if (part == "..") {
      if (parts.empty()) {
        return std::nullopt;
      }
      parts.pop_back();
    } else if (part != ".") {
      parts.push_back(std::move(part));
    }
  }
  return parts;
}

Status check_name(const LayerEntry& entry, const std::vector<std::string>& parts) {
  if (entry.name.size() > kMaxEntryPathBytes || entry.link_target.size() > kMaxTargetBytes) {
    return refused(entry, "has a name or target of more than 4095 bytes");
  }
  for (const std::string& part : parts) {
    if (part.size() > kMaxNodeNameBytes || part.find('\0') != std::string::npos) {
      return refused(entry, "has a part of more than 255 bytes, or with a zero byte, in its name");
    }
  }
  return base::ok();
}

}  // namespace

/// Follows symbolic links within the layer, as an engine does.
/// \param make missing directories are made, but never where a link leads
Result<DirectoryId> LayerExtractor::directory(const Components& path, bool make) {
  std::deque<std::string> rest(path.begin(), path.end());
  std::size_t followed = 0;
  DirectoryId at = root_;
  while (!rest.empty()) {
    const std::string part = std::move(rest.front());
    rest.pop_front();
    if (part == ".") {
      continue;
    }
    if (part == "..") {
      if (at == root_) {
        return Error(ErrorCode::kImageInvalid, "leads out of the layer through a symbolic link");
      }
      at = tree_.parent_of(at);
      continue;
    }
    const DirectoryTree::Child* child = tree_.find(at, part);
    if (child == nullptr) {
      if (!make || followed > 0) {
        return Error(ErrorCode::kImageInvalid, "leads through a directory that is not there");
      }
      OU_TRY(at, tree_.add_directory(
                     at, part, plain_entry(LayerEntry::Kind::kDirectory, kParentPermissions)));
    } else if (child->kind == LayerEntry::Kind::kDirectory) {
      at = child->directory;
    } else if (child->kind == LayerEntry::Kind::kSymlink && ++followed <= kMaxFollowed) {
      const std::string& target = tree_.target_of(child->node);
      if (target.starts_with('/')) {
        return Error(ErrorCode::kImageInvalid, "leads out of the layer through a symbolic link");
      }
      const Components parts = split(target);
      rest.insert(rest.begin(), parts.begin(), parts.end());
    } else {
      return Error(ErrorCode::kImageInvalid, "leads through something that is no directory");
    }
  }
  return at;
}

Status LayerExtractor::add(const LayerEntry& entry, oci::ByteSource& content) {
  auto normal = normal_parts(entry.name);
  if (!normal) {
    return refused(entry, "leads out of the layer");
  }
  Components parts = std::move(*normal);
  OU_CHECK(check_name(entry, parts));
  if (parts.empty()) {
    // Engines leave the root as it is for "./", and change it for "/".
    if (entry.kind != LayerEntry::Kind::kDirectory) {
      return refused(entry, "would replace the root");
    }
    return entry.name.starts_with('/') ? store_.change(tree_.node_of(root_), entry) : base::ok();
  }
  const std::string name = std::move(parts.back());
  parts.pop_back();
  if (name.starts_with(kOtherMarks) && name != kOpaque) {
    return base::ok();
  }
  auto parent = directory(parts, true);
  if (!parent) {
    return parent.error().code() == ErrorCode::kImageInvalid ? refused(entry, parent.error().what())
                                                             : std::move(parent).error();
  }
  if (name == kOpaque) {
    return store_.set_attribute(tree_.node_of(*parent), "trusted.overlay.opaque", "y");
  }
  if (name.starts_with(kWhiteout)) {
    return white_out(*parent, name.substr(kWhiteout.size()), entry);
  }
  if (const DirectoryTree::Child* there = tree_.find(*parent, name)) {
    if (there->kind == LayerEntry::Kind::kDirectory && entry.kind == LayerEntry::Kind::kDirectory) {
      return store_.change(there->node, entry);
    }
    OU_CHECK(tree_.remove(*parent, name));
  }
  if (entry.kind == LayerEntry::Kind::kHardlink) {
    return hard_link(*parent, name, entry);
  }
  if (entry.kind == LayerEntry::Kind::kSymlink && entry.link_target.empty()) {
    return refused(entry, "is a symbolic link to nothing");
  }
  return tree_.add(*parent, name, entry, &content);
}

Status LayerExtractor::white_out(DirectoryId parent, const std::string& name,
                                 const LayerEntry& entry) {
  if (name.empty() || name == "." || name == "..") {
    return refused(entry, "is a whiteout without a name");
  }
  if (tree_.find(parent, name) != nullptr) {
    return refused(entry, "removes what the same layer has");
  }
  LayerEntry mark = plain_entry(LayerEntry::Kind::kCharDevice, 0);
  mark.uid = entry.uid;
  mark.gid = entry.gid;
  mark.mtime_seconds = entry.mtime_seconds;
  mark.mtime_nanoseconds = entry.mtime_nanoseconds;
  return tree_.add(parent, name, mark, nullptr);
}

Status LayerExtractor::hard_link(DirectoryId parent, const std::string& name,
                                 const LayerEntry& entry) {
  auto normal = normal_parts(entry.link_target);
  if (!normal) {
    return refused(entry, "is a hard link that leads out of the layer");
  }
  Components parts = std::move(*normal);
  if (parts.empty()) {
    return refused(entry, "is a hard link to a directory");
  }
  const std::string last = std::move(parts.back());
  parts.pop_back();
  const auto holder = directory(parts, false);
  const DirectoryTree::Child* target = holder ? tree_.find(*holder, last) : nullptr;
  if (target == nullptr) {
    return refused(entry, "is a hard link to " + base::printable(entry.link_target) +
                              ", which the layer does not have before it");
  }
  if (target->kind == LayerEntry::Kind::kDirectory) {
    return refused(entry, "is a hard link to a directory");
  }
  const DirectoryTree::Child found = *target;
  OU_CHECK(tree_.add_link(parent, name, found));
  return store_.change(found.node, entry);
}

}  // namespace image
