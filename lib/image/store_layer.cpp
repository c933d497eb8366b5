#include "image/store_layer.hpp"

#include "image/directory_tree.hpp"
#include "image/layer_extractor.hpp"
#include "image/layer_tar.hpp"
#include "image/tar_split_writer.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::size_t kLinkCharacters = 26;

/// RFC 4648 base32, as much of it as is asked for.
std::string base32(base::ByteView bytes, std::size_t characters) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string text;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const std::uint8_t byte : bytes) {
    bits = (bits << 8U) | byte;
    count += 8;
    while (count >= 5 && text.size() < characters) {
      count -= 5;
      text += kAlphabet[(bits >> count) & 31U];
    }
  }
  return text;
}

/// The content of the file that LayerTar is at.
class EntryContent final : public oci::ByteSource {
 public:
  explicit EntryContent(LayerTar& tar) : tar_(tar) {}
  Result<std::size_t> read(std::span<std::uint8_t> buffer) override { return tar_.read(buffer); }

 private:
  LayerTar& tar_;
};

/// \return the record of the archive
Result<base::Bytes> extract(NodeStore& store, DirectoryTree& tree, DirectoryId root,
                            ReadAhead& source) {
  TarSplitWriter record;
  LayerTar tar(source, record);
  LayerExtractor extractor(store, tree, root);
  for (;;) {
    OU_TRY(const auto entry, tar.next());
    if (!entry) {
      break;
    }
    EntryContent content(tar);
    OU_CHECK(extractor.add(*entry, content));
  }
  return record.finish();
}

Status add_text(DirectoryTree& tree, const std::string& name, std::uint32_t permissions,
                std::string_view text) {
  return tree.add_file(DirectoryTree::kRoot, name, permissions, base::as_bytes(text));
}

}  // namespace

std::vector<oci::Digest> chain_ids(const std::vector<oci::Digest>& diff_ids) {
  std::vector<oci::Digest> chain;
  for (const oci::Digest& diff_id : diff_ids) {
    chain.push_back(chain.empty() ? diff_id
                                  : oci::Digest::of(base::as_bytes(chain.back().text() + " " +
                                                                   diff_id.text())));
  }
  return chain;
}

std::string cache_id_of(const oci::Digest& chain_id) {
  return chain_id.hex();
}

std::string link_of(const std::string& cache_id) {
  return base32(base::sha256(base::as_bytes(cache_id)), kLinkCharacters);
}

Result<BuiltLayer> build_layer(NodeStore& store, const LayerPlace& place, ReadAhead& tar,
                               const LayerParents& parents) {
  const std::string cache_id = cache_id_of(place.chain_id);
  const std::string link = link_of(cache_id);
  const LayerEntry directory = plain_entry(LayerEntry::Kind::kDirectory, 0755);

  OU_TRY(DirectoryTree overlay, DirectoryTree::start(store, 0710));
  OU_TRY(const DirectoryId diff, overlay.add_directory(DirectoryTree::kRoot, "diff", directory));
  OU_TRY(const base::Bytes tar_split, extract(store, overlay, diff, tar));
  if (tar.digest() != place.diff_id) {
    return Error(ErrorCode::kBlobAltered, "the layer is " + tar.digest().text() +
                                              " instead of the image's " + place.diff_id.text() +
                                              ": the image is damaged, get it again");
  }
  const std::uint64_t size_bytes = overlay.size_bytes();
  OU_CHECK(add_text(overlay, "link", 0644, link));
  if (place.has_child) {
    OU_CHECK(add_text(overlay, "committed", 0600, ""));
  }
  if (!place.lower.empty()) {
    OU_CHECK(add_text(overlay, "lower", 0644, place.lower));
    OU_TRY(const DirectoryId work,
           overlay.add_directory(DirectoryTree::kRoot, "work",
                                 plain_entry(LayerEntry::Kind::kDirectory, 0700)));
    static_cast<void>(work);
  }

  OU_TRY(DirectoryTree record, DirectoryTree::start(store, 0700));
  OU_CHECK(add_text(record, "cache-id", 0644, cache_id));
  OU_CHECK(add_text(record, "diff", 0644, place.diff_id.text()));
  if (place.parent) {
    OU_CHECK(add_text(record, "parent", 0644, place.parent->text()));
  }
  OU_CHECK(add_text(record, "size", 0644, std::to_string(size_bytes)));
  OU_CHECK(record.add_file(DirectoryTree::kRoot, "tar-split.json.gz", 0644, tar_split));

  LayerEntry short_name = plain_entry(LayerEntry::Kind::kSymlink, 0777);
  short_name.link_target = "../" + cache_id + "/diff";
  BuiltLayer built{};
  OU_TRY(built.link, store.make(short_name, nullptr));
  OU_TRY(built.overlay, overlay.finish(parents.overlays));
  OU_TRY(built.record, record.finish(parents.records));
  return built;
}

}  // namespace image
