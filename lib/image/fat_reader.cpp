#include "image/fat_reader.hpp"

#include <algorithm>

#include "base/printable.hpp"
#include "image/fat_directory.hpp"
#include "image/little_endian.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::uint64_t kMaxDirectoryBytes = std::uint64_t{2} << 20;  // 65,536 entries
constexpr std::size_t kMaxNodes = 100'000;
constexpr std::int64_t kEpochSeconds = 315'532'800;  // 1980-01-01

Error damaged(const std::string& what) {
  return Error(ErrorCode::kDiskImage, "the FAT file system is damaged: " + what);
}

bool same_name(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

Result<FatReader> FatReader::open(const BlockRange& range) {
  OU_TRY(const FatLayout layout, FatLayout::read(range));
  base::Bytes table(static_cast<std::size_t>(layout.table_bytes));
  OU_CHECK(range.read(layout.table_offset, table));
  return FatReader(range, layout, std::move(table));
}

std::uint32_t FatReader::next(std::uint32_t cluster) const {
  switch (layout_.kind) {
    case FatKind::kFat12: {
      const auto pair = load_le<std::uint16_t>(table_, std::size_t{cluster} * 3 / 2);
      return cluster % 2 == 0 ? pair & 0x0FFFU : pair >> 4U;
    }
    case FatKind::kFat16:
      return load_le<std::uint16_t>(table_, std::size_t{cluster} * 2);
    case FatKind::kFat32:
      break;
  }
  return load_le<std::uint32_t>(table_, std::size_t{cluster} * 4) & 0x0FFFFFFFU;
}

std::uint32_t FatReader::free_clusters() const {
  std::uint32_t free = 0;
  for (std::uint32_t i = 0; i < layout_.cluster_count; ++i) {
    free += next(i + 2) == 0 ? 1U : 0U;
  }
  return free;
}

Result<std::vector<std::uint32_t>> FatReader::chain(std::uint32_t first,
                                                    std::uint64_t limit_clusters) const {
  // Each kind has its own marks for the end of a chain: the last eight numbers that it can tell.
  const std::uint32_t end_mark = layout_.kind == FatKind::kFat12   ? 0x0FF8U
                                 : layout_.kind == FatKind::kFat16 ? 0xFFF8U
                                                                   : 0x0FFFFFF8U;
  std::vector<std::uint32_t> clusters;
  for (std::uint32_t cluster = first; cluster < end_mark; cluster = next(cluster)) {
    if (!layout_.has_cluster(cluster)) {
      return damaged("a file's chain leads to cluster " + std::to_string(cluster));
    }
    if (clusters.size() >= layout_.cluster_count) {
      return damaged("a file's chain is a loop");
    }
    if (clusters.size() >= limit_clusters) {
      break;
    }
    clusters.push_back(cluster);
  }
  return clusters;
}

Result<base::Bytes> FatReader::content(std::uint32_t first, std::uint64_t limit_bytes,
                                       bool whole_chain) const {
  base::Bytes bytes;
  if (first == 0) {
    return bytes;
  }
  const std::uint64_t limit_clusters =
      (limit_bytes + layout_.cluster_bytes - 1) / layout_.cluster_bytes;
  OU_TRY(const auto clusters, chain(first, limit_clusters + (whole_chain ? 1 : 0)));
  if (clusters.size() > limit_clusters) {
    return damaged("a directory is larger than 2 MiB");
  }
  bytes.resize(clusters.size() * layout_.cluster_bytes);
  for (std::size_t i = 0; i < clusters.size(); ++i) {
    OU_CHECK(
        range_.read(layout_.offset_of(clusters[i]),
                    std::span(bytes).subspan(i * layout_.cluster_bytes, layout_.cluster_bytes)));
  }
  return bytes;
}

Result<std::vector<FatNode>> FatReader::root() const {
  if (layout_.kind == FatKind::kFat32) {
    OU_TRY(const base::Bytes bytes, content(layout_.root_cluster, kMaxDirectoryBytes, true));
    return parse_fat_directory(bytes, layout_.kind);
  }
  base::Bytes bytes(static_cast<std::size_t>(layout_.root_bytes));
  OU_CHECK(range_.read(layout_.root_offset, bytes));
  return parse_fat_directory(bytes, layout_.kind);
}

Result<std::vector<FatNode>> FatReader::list(const FatNode& directory) const {
  OU_TRY(const base::Bytes bytes, content(directory.first_cluster, kMaxDirectoryBytes, true));
  return parse_fat_directory(bytes, layout_.kind);
}

Result<std::optional<FatNode>> FatReader::find(std::string_view path) const {
  std::optional<FatNode> found;
  OU_TRY(std::vector<FatNode> entries, root());
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    if (name.empty()) {
      continue;
    }
    if (found) {
      if (!found->directory) {
        return std::optional<FatNode>();
      }
      OU_TRY(entries, list(*found));
    }
    const auto entry = std::find_if(entries.begin(), entries.end(), [name](const FatNode& node) {
      return same_name(node.name, name) || same_name(node.short_name, name);
    });
    if (entry == entries.end()) {
      return std::optional<FatNode>();
    }
    found = *entry;
  }
  return found;
}

Result<std::string> FatReader::read(const FatNode& file, std::uint64_t limit_bytes) const {
  const std::string shown = base::printable(file.name);
  if (file.directory) {
    return Error(ErrorCode::kDiskImage, shown + " is a directory");
  }
  if (file.size_bytes > limit_bytes) {
    return Error(ErrorCode::kLimitExceeded,
                 shown + " is larger than the limit of " + std::to_string(limit_bytes) + " bytes");
  }
  OU_TRY(base::Bytes bytes, content(file.first_cluster, file.size_bytes, false));
  if (bytes.size() < file.size_bytes) {
    return damaged(shown + " is shorter than it claims to be");
  }
  bytes.resize(static_cast<std::size_t>(file.size_bytes));
  return std::string(base::as_text(bytes));
}

Result<std::int64_t> FatReader::check() const {
  std::vector<bool> used(std::size_t{layout_.cluster_count} + 2);
  std::int64_t newest = kEpochSeconds;
  OU_TRY(std::vector<FatNode> pending, root());
  if (layout_.kind == FatKind::kFat32) {
    pending.push_back({"/", "", false, 0, layout_.root_cluster, kEpochSeconds});
  }
  std::size_t count = 0;
  while (!pending.empty()) {
    const FatNode node = std::move(pending.back());
    pending.pop_back();
    if (++count > kMaxNodes) {
      return Error(ErrorCode::kLimitExceeded, "the FAT file system has more than 100000 files");
    }
    newest = std::max(newest, node.modified_seconds);
    if (node.first_cluster == 0) {
      continue;
    }
    OU_TRY(const auto clusters, chain(node.first_cluster, layout_.cluster_count));
    for (const std::uint32_t cluster : clusters) {
      if (used[cluster]) {
        return damaged(base::printable(node.name) +
                       " shares a cluster with another file; mend it with fsck.fat first");
      }
      used[cluster] = true;
    }
    if (node.directory) {
      OU_TRY(auto below, list(node));
      pending.insert(pending.end(), std::make_move_iterator(below.begin()),
                     std::make_move_iterator(below.end()));
    }
  }
  return newest;
}

}  // namespace image
