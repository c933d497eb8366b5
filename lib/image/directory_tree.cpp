#include "image/directory_tree.hpp"

#include "image/memory_source.hpp"

namespace image {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

LayerEntry plain_entry(LayerEntry::Kind kind, std::uint32_t permissions) {
  LayerEntry entry;
  entry.kind = kind;
  entry.permissions = permissions;
  return entry;
}

Result<DirectoryTree> DirectoryTree::start(NodeStore& store, std::uint32_t permissions) {
  DirectoryTree tree(store);
  OU_TRY(const NodeId root,
         store.make(plain_entry(LayerEntry::Kind::kDirectory, permissions), nullptr));
  tree.directories_.push_back({root, kRoot, false, {}});
  return tree;
}

const DirectoryTree::Child* DirectoryTree::find(DirectoryId directory,
                                                const std::string& name) const {
  const auto& children = directories_[directory].children;
  const auto found = children.find(name);
  return found == children.end() ? nullptr : &found->second;
}

Status DirectoryTree::count(const std::string& name, const std::string& target) {
  text_bytes_ += name.size() + target.size();
  if (++nodes_ > kMaxTreeNodes || text_bytes_ > kMaxTreeTextBytes) {
    return Error(ErrorCode::kLimitExceeded,
                 "a layer has more than two million files, or more than 256 MiB of names");
  }
  return base::ok();
}

Result<DirectoryId> DirectoryTree::add_directory(DirectoryId parent, const std::string& name,
                                                 const LayerEntry& entry) {
  OU_CHECK(count(name, ""));
  OU_TRY(const NodeId node, store_->make(entry, nullptr));
  const DirectoryId id = directories_.size();
  directories_[parent].children.emplace(name, Child{node, LayerEntry::Kind::kDirectory, id});
  directories_.push_back({node, parent, false, {}});
  return id;
}

Status DirectoryTree::add(DirectoryId parent, const std::string& name, const LayerEntry& entry,
                          oci::ByteSource* content) {
  if (entry.kind == LayerEntry::Kind::kDirectory) {
    OU_TRY(const DirectoryId added, add_directory(parent, name, entry));
    static_cast<void>(added);
    return base::ok();
  }
  OU_CHECK(count(name, entry.link_target));
  OU_TRY(const NodeId node, store_->make(entry, content));
  directories_[parent].children.emplace(name, Child{node, entry.kind, 0});
  if (entry.kind == LayerEntry::Kind::kSymlink) {
    targets_[node] = entry.link_target;
    size_bytes_ += entry.link_target.size();
  } else if (entry.kind == LayerEntry::Kind::kFile) {
    size_bytes_ += entry.size_bytes;
  }
  return base::ok();
}

Status DirectoryTree::add_file(DirectoryId parent, const std::string& name,
                               std::uint32_t permissions, base::ByteView content) {
  LayerEntry entry = plain_entry(LayerEntry::Kind::kFile, permissions);
  entry.size_bytes = content.size();
  if (!content.empty()) {
    entry.stretches = {{0, content.size()}};
  }
  MemorySource source(content);
  return add(parent, name, entry, &source);
}

Status DirectoryTree::add_link(DirectoryId parent, const std::string& name, const Child& to) {
  const Child child = to;
  OU_CHECK(count(name, ""));
  OU_CHECK(store_->add_link(child.node));
  directories_[parent].children.emplace(name, child);
  return base::ok();
}

Status DirectoryTree::remove(DirectoryId parent, const std::string& name) {
  auto& children = directories_[parent].children;
  const auto found = children.find(name);
  if (found == children.end()) {
    return base::ok();
  }
  std::vector<Child> doomed = {found->second};
  children.erase(found);
  while (!doomed.empty()) {
    const Child child = doomed.back();
    doomed.pop_back();
    if (child.kind == LayerEntry::Kind::kDirectory) {
      Directory& directory = directories_[child.directory];
      directory.gone = true;
      for (const auto& [below, grandchild] : directory.children) {
        doomed.push_back(grandchild);
      }
      directory.children.clear();
    }
    OU_TRY(const std::uint64_t gone, store_->remove(child.node, child.kind));
    size_bytes_ -= gone;
  }
  return base::ok();
}

Result<NodeId> DirectoryTree::finish(NodeId parent) {
  for (DirectoryId id = 0; id < directories_.size(); ++id) {
    Directory& directory = directories_[id];
    if (directory.gone) {
      continue;
    }
    std::vector<NamedNode> entries;
    entries.reserve(directory.children.size());
    for (const auto& [name, child] : directory.children) {
      entries.push_back({name, child.node, child.kind});
    }
    const NodeId above = id == kRoot ? parent : directories_[directory.parent].node;
    OU_CHECK(store_->write_directory(directory.node, above, entries));
  }
  return directories_[kRoot].node;
}

}  // namespace image
