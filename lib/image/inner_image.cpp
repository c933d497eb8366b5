// The image that a flasher carries: found in its flash-rootA, copied out and written back.
#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <memory>

#include "base/printable.hpp"
#include "image/ext_file_system.hpp"
#include "image/os_image.hpp"

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
constexpr std::uint64_t kSectorBytes = 512;
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

/// A range read from front to end.
class RangeSource final : public oci::ByteSource {
 public:
  RangeSource(const BlockRange& range, base::ProgressSink& progress)
      : range_(range), progress_(progress) {}

  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), range_.size_bytes() - at_));
    OU_CHECK(range_.read(at_, buffer.first(count)));
    at_ += count;
    progress_.advance(count);
    return count;
  }

 private:
  BlockRange range_;
  base::ProgressSink& progress_;
  std::uint64_t at_ = 0;
};

Status store_whole(oci::ByteSource& content, std::uint64_t size_bytes, const SharedFd& to,
                   base::ProgressSink& progress) {
  OU_TRY(const std::uint64_t stored,
         store_sparse(content, to, [&](std::uint64_t piece) { progress.advance(piece); }));
  if (stored != size_bytes) {
    return Error(ErrorCode::kDiskImage, "the file is shorter than it claims to be");
  }
  return base::ok();
}

/// What a file's blocks take, which is less than its size when it has holes.
Result<std::uint64_t> allocated_bytes(const ExtFileSystem& files, const ExtNode& node) {
  ext2_inode inode{};
  if (::ext2fs_read_inode(files.handle(), node.inode, &inode) != 0) {
    return Error(ErrorCode::kIo, "the flasher's image cannot be looked at");
  }
  return ::ext2fs_inode_i_blocks(files.handle(), &inode) * kSectorBytes;
}

/// How much is missing in flash-rootA for a file of `size_bytes` in the place of `path`.
Result<std::uint64_t> missing_bytes(const OsImage& flasher, const std::string& path,
                                    std::uint64_t size_bytes) {
  OU_TRY(const auto files, open_root(flasher, ExtFileSystem::Access::kRead));
  OU_TRY(const ExtNode node, require_file(*files, path));
  OU_TRY(const std::uint64_t freed, allocated_bytes(*files, node));
  const std::uint64_t room = files->free().bytes + freed;
  const std::uint64_t needed = size_bytes + kSpareBytes;
  return needed > room ? needed - room : 0;
}

/// Makes flash-rootA larger until the file fits.
Status make_room(OsImage& flasher, const std::string& path, std::uint64_t size_bytes,
                 const std::filesystem::path& scratch) {
  OU_TRY(const std::uint64_t missing, missing_bytes(flasher, path, size_bytes));
  if (missing == 0) {
    return base::ok();
  }
  // A sixteenth for the inode tables and bitmaps that the new part of the file system has.
  OU_CHECK(flasher.grow(PartRole::kRootA, missing + missing / 16 + kSpareBytes));
  OU_TRY(const BlockRange range, flasher.range_of(PartRole::kRootA));
  return grow_ext_file_system(range, scratch).within("flash-rootA");
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
  OU_CHECK(make_room(flasher, inner.path, whole.size_bytes(), scratch));
  OU_TRY(const auto files, open_root(flasher, ExtFileSystem::Access::kChange));
  OU_TRY(const ExtNode node, require_file(*files, inner.path));
  progress.phase("writing the image back into the flasher", whole.size_bytes());
  RangeSource source(whole, progress);
  OU_CHECK(files->write_file(inner.path, source, whole.size_bytes(), node.permissions & 07777U));
  OU_CHECK(files->close());
  return flasher.file().sync();
}

Status put_inner_image_back(OsImage& flasher, const InnerImage& inner, const ImageFile& content,
                            base::ProgressSink& progress) {
  std::error_code ignored;  // without a directory there is no scratch file either, which is told
  return put_inner_image_back(flasher, inner, content,
                              std::filesystem::temp_directory_path(ignored), progress);
}

}  // namespace image
