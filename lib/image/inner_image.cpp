// The image that a flasher carries: found in its flash-rootA, copied out and written back.
#include <algorithm>
#include <memory>

#include "base/printable.hpp"
#include "base/sizes.hpp"
#include "image/ext_file_system.hpp"
#include "image/ext_growth.hpp"
#include "image/ext_nodes.hpp"
#include "image/node_meter.hpp"
#include "image/os_image.hpp"
#include "image/sparse_stretches.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::string_view kDirectory = "opt";
constexpr std::string_view kSuffix = ".balenaos-img";
constexpr std::string_view kOldSuffix = ".resinos-img";  // before OS 2.44 or so
constexpr std::size_t kMaxEntries = 10'000;
constexpr std::uint64_t kMaxInnerBytes = std::uint64_t{256} << 30;
constexpr std::uint64_t kSpareBytes = std::uint64_t{4} << 20;  // block maps and the directory

bool is_image_name(std::string_view name) {
  return name.ends_with(kSuffix) || name.ends_with(kOldSuffix);
}

Result<std::shared_ptr<ExtFileSystem>> open_root(const OsImage& flasher,
                                                 ExtFileSystem::Access access) {
  OU_TRY(const BlockRange range, flasher.range_of(PartRole::kRootA));
  OU_TRY(ExtFileSystem files, ExtFileSystem::open(range, access).within("flash-rootA"));
  return std::make_shared<ExtFileSystem>(std::move(files));
}

Result<ExtNode> require_file(const ExtFileSystem& files, const std::string& path) {
  OU_TRY(const auto node, files.find(path));
  if (!node || node->kind != NodeKind::kFile) {
    return Error(ErrorCode::kDiskImage, base::printable(path) + " is no file in flash-rootA");
  }
  return *node;
}

bool is_encrypted(const OsImage& image) {
  return std::any_of(image.parts().begin(), image.parts().end(),
                     [](const Part& part) { return part.file_system == "crypto_LUKS"; });
}

Status store_whole(oci::ByteSource& content, std::uint64_t size_bytes, const SharedFd& to,
                   base::ProgressSink& progress) {
  OU_TRY(const std::uint64_t stored,
         store_sparse(content, to, [&](std::uint64_t piece) { progress.advance(piece); }));
  if (stored != size_bytes) {
    return Error(ErrorCode::kDiskImage, "the file is shorter than it claims to be");
  }
  return base::ok();
}

/// Makes room in flash-rootA.
Status make_room(OsImage& flasher, const base::Room& need, const std::filesystem::path& scratch) {
  std::uint64_t missing = 0;
  {
    OU_TRY(const auto files, open_root(flasher, ExtFileSystem::Access::kRead));
    OU_TRY(missing, missing_bytes(*files, need));
  }
  if (missing == 0) {
    return base::ok();
  }
  OU_CHECK(flasher.grow(PartRole::kRootA, missing));
  OU_TRY(const BlockRange range, flasher.range_of(PartRole::kRootA));
  return grow_ext_file_system(range, scratch).within("flash-rootA");
}

/// Removes what is there. \return an entry for what takes its place
Result<LayerEntry> take_out(OsImage& flasher, const InnerImage& inner, std::uint64_t size_bytes) {
  OU_TRY(const auto files, open_root(flasher, ExtFileSystem::Access::kChange));
  OU_TRY(const ExtNode node, require_file(*files, inner.path));
  LayerEntry entry;
  entry.permissions = node.permissions & 07777U;
  entry.uid = node.uid;
  entry.gid = node.gid;
  entry.mtime_seconds = node.mtime_seconds;
  entry.size_bytes = size_bytes;
  OU_CHECK(files->remove_file(inner.path));
  OU_CHECK(files->close());
  return entry;
}

}  // namespace

Result<InnerImage> find_inner_image(const OsImage& flasher) {
  OU_TRY(const auto files, open_root(flasher, ExtFileSystem::Access::kRead));
  OU_TRY(const auto directory, files->find(kDirectory));
  std::vector<ExtEntry> entries;
  if (directory && directory->kind == NodeKind::kDirectory) {
    OU_TRY(entries, files->list(*directory, kMaxEntries));
  }
  std::string name;
  for (const ExtEntry& entry : entries) {
    if (!is_image_name(entry.name)) {
      continue;
    }
    if (!name.empty()) {
      return Error(ErrorCode::kDiskImage, "the flasher holds two images, " + base::printable(name) +
                                              " and " + base::printable(entry.name));
    }
    name = entry.name;
  }
  if (name.empty()) {
    return Error(ErrorCode::kDiskImage,
                 "the flasher holds no image: there is no /opt/*.balenaos-img in its flash-rootA");
  }
  const std::string path = std::string(kDirectory) + "/" + name;
  OU_TRY(const ExtNode node, require_file(*files, path));
  const bool is_signed = std::any_of(entries.begin(), entries.end(), [&name](const ExtEntry& one) {
    return one.name == name + ".sig";
  });
  return InnerImage{path, node.size_bytes, is_signed};
}

Result<OsImage> open_inner_image(const OsImage& flasher, const InnerImage& inner,
                                 const std::filesystem::path& scratch,
                                 base::ProgressSink& progress) {
  if (inner.size_bytes > kMaxInnerBytes) {
    return Error(ErrorCode::kLimitExceeded, "the flasher's image claims to be larger than 256 GiB");
  }
  OU_TRY(const auto files, open_root(flasher, ExtFileSystem::Access::kRead));
  OU_TRY(const ExtNode node, require_file(*files, inner.path));
  OU_TRY(const auto content, files->open_file(node));
  OU_TRY(SharedFd copy, make_scratch_file(scratch));
  progress.phase("copying the image out of the flasher", node.size_bytes);
  OU_CHECK(
      store_whole(*content, node.size_bytes, copy, progress).within(base::printable(inner.path)));
  OU_TRY(ImageFile file, ImageFile::of(std::move(copy)));
  OU_TRY(OsImage image, OsImage::open(std::move(file)).within(base::printable(inner.path)));
  if (is_encrypted(image)) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the flasher's image is encrypted and cannot be opened: carry the applications in "
                 "a bundle instead");
  }
  return image;
}

Status put_inner_image_back(OsImage& flasher, const InnerImage& inner, const ImageFile& content,
                            const std::filesystem::path& scratch, base::ProgressSink& progress) {
  if (inner.signed_for_secure_boot) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the flasher's image is signed for secure boot, and a changed one would be "
                 "refused by the device: carry the applications in a bundle instead");
  }
  const BlockRange& whole = content.whole();
  progress.phase("writing the image back into the flasher", whole.size_bytes());
  OU_TRY(LayerEntry entry, take_out(flasher, inner, whole.size_bytes()));
  OU_TRY(entry.stretches, data_stretches(whole));
  NodeMeter meter({});
  OU_TRY(const NodeId measured, meter.make(entry, nullptr));
  static_cast<void>(measured);
  OU_CHECK(make_room(flasher, {meter.used().bytes + kSpareBytes, 1}, scratch));
  OU_TRY(const auto files, open_root(flasher, ExtFileSystem::Access::kChange));
  OU_TRY(const auto nodes, ExtNodes::open(*files));
  const std::size_t slash = inner.path.rfind('/');
  OU_TRY(const auto directory, files->find(inner.path.substr(0, slash)));
  if (!directory) {
    return Error(ErrorCode::kDiskImage, "the flasher's /opt is gone");
  }
  OU_TRY(const NodeId made, nodes->make(entry, open_stretches(whole, entry.stretches).get()));
  OU_CHECK(nodes->attach(directory->inode,
                         {inner.path.substr(slash + 1), made, LayerEntry::Kind::kFile}));
  progress.advance(whole.size_bytes());
  OU_CHECK(files->close());
  return flasher.file().sync();
}

}  // namespace image
