#include "image/zip_member.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "base/files.hpp"
#include "base/printable.hpp"
#include "image/decoders.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kEntrySignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kLocator64Signature = 0x07064b50;
constexpr std::size_t kLocalBytes = 30;
constexpr std::size_t kEntryBytes = 46;
constexpr std::size_t kEndBytes = 22;
constexpr std::size_t kEnd64Bytes = 56;
constexpr std::size_t kLocator64Bytes = 20;
constexpr std::uint16_t kStored = 0;
constexpr std::uint16_t kDeflated = 8;
constexpr std::uint32_t kIn64 = 0xFFFFFFFF;  // the value is in the zip64 record

Error damaged(const std::string& what) {
  return Error(ErrorCode::kDiskImage,
               "damaged zip archive, " + what + ": the file is incomplete, download it again");
}

/// A little-endian number. \pre it is all inside
template <typename Number>
Number number(base::ByteView bytes, std::size_t at) {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    value = static_cast<Number>(value | static_cast<Number>(Number{bytes[at + i]} << (8 * i)));
  }
  return value;
}

Result<base::Bytes> read_exactly(const SharedFd& file, std::uint64_t at, std::size_t count,
                                 const std::string& what) {
  base::Bytes bytes(count);
  OU_TRY(const std::size_t got, base::read_at(file->get(), bytes, at));
  if (got < count) {
    return damaged(what + " lies outside of it");
  }
  return bytes;
}

struct Directory {
  std::uint64_t offset_bytes;
  std::uint64_t size_bytes;
};

/// The zip64 record whose place the locator just before the end record gives.
Result<Directory> find_directory64(const SharedFd& file, std::uint64_t end_at) {
  if (end_at < kLocator64Bytes) {
    return damaged("its zip64 locator is missing");
  }
  OU_TRY(const base::Bytes locator,
         read_exactly(file, end_at - kLocator64Bytes, kLocator64Bytes, "its zip64 locator"));
  if (number<std::uint32_t>(locator, 0) != kLocator64Signature) {
    return damaged("its zip64 locator is missing");
  }
  const auto at = number<std::uint64_t>(locator, 8);
  if (at > end_at - kLocator64Bytes) {
    return damaged("its zip64 record lies outside of it");
  }
  OU_TRY(const base::Bytes end, read_exactly(file, at, kEnd64Bytes, "its zip64 record"));
  if (number<std::uint32_t>(end, 0) != kEnd64Signature) {
    return damaged("its zip64 record is missing");
  }
  return Directory{number<std::uint64_t>(end, 48), number<std::uint64_t>(end, 40)};
}

Result<Directory> find_directory(const SharedFd& file, std::uint64_t file_bytes) {
  constexpr std::uint64_t kMaxCommentBytes = 0xFFFF;
  const auto tail_bytes =
      static_cast<std::size_t>(std::min(file_bytes, kEndBytes + kMaxCommentBytes));
  const std::uint64_t tail_at = file_bytes - tail_bytes;
  OU_TRY(const base::Bytes tail, read_exactly(file, tail_at, tail_bytes, "its end"));
  for (std::size_t back = kEndBytes; back <= tail_bytes; ++back) {
    const std::size_t at = tail_bytes - back;
    if (number<std::uint32_t>(tail, at) != kEndSignature ||
        number<std::uint16_t>(tail, at + 20) != back - kEndBytes) {
      continue;
    }
    Directory directory{number<std::uint32_t>(tail, at + 16), number<std::uint32_t>(tail, at + 12)};
    const std::uint64_t end_at = tail_at + at;
    if (directory.offset_bytes == kIn64 || directory.size_bytes == kIn64 ||
        number<std::uint16_t>(tail, at + 10) == 0xFFFF) {
      OU_TRY(directory, find_directory64(file, end_at));
    }
    if (directory.size_bytes > kMaxZipDirectoryBytes) {
      return Error(ErrorCode::kDiskImage,
                   "the zip archive has too many files: pack the image alone");
    }
    if (directory.offset_bytes > end_at || directory.size_bytes > end_at - directory.offset_bytes) {
      return damaged("its directory lies outside of it");
    }
    return directory;
  }
  return damaged("there is no directory at its end");
}

/// Takes sizes and offset that do not fit into 32 bits from an entry's extra fields.
base::Status read_zip64_field(base::ByteView extra, ZipMember& member) {
  constexpr std::uint16_t kZip64Field = 1;
  const std::array<std::uint64_t*, 3> values = {&member.size_bytes, &member.compressed_bytes,
                                                &member.data_offset_bytes};
  if (std::none_of(values.begin(), values.end(), [](auto* value) { return *value == kIn64; })) {
    return base::ok();
  }
  while (extra.size() >= 4) {
    const auto kind = number<std::uint16_t>(extra, 0);
    const std::size_t length = number<std::uint16_t>(extra, 2);
    if (length > extra.size() - 4) {
      break;
    }
    base::ByteView field = extra.subspan(4, length);
    extra = extra.subspan(4 + length);
    if (kind != kZip64Field) {
      continue;
    }
    for (std::uint64_t* value : values) {
      if (*value == kIn64) {
        if (field.size() < sizeof(std::uint64_t)) {
          return damaged("a zip64 size is missing");
        }
        *value = number<std::uint64_t>(field, 0);
        field = field.subspan(sizeof(std::uint64_t));
      }
    }
    return base::ok();
  }
  return damaged("a zip64 size is missing");
}

struct Entry {
  ZipMember member;     // data_offset_bytes is still that of its local header
  std::uint16_t flags;  // general purpose
};

Result<std::vector<Entry>> read_directory(base::ByteView directory) {
  std::vector<Entry> entries;
  while (!directory.empty()) {
    if (directory.size() < kEntryBytes || number<std::uint32_t>(directory, 0) != kEntrySignature) {
      return damaged("an entry of its directory is cut");
    }
    const std::size_t name_bytes = number<std::uint16_t>(directory, 28);
    const std::size_t extra_bytes = number<std::uint16_t>(directory, 30);
    const std::size_t comment_bytes = number<std::uint16_t>(directory, 32);
    const std::size_t all = kEntryBytes + name_bytes + extra_bytes + comment_bytes;
    if (all > directory.size()) {
      return damaged("an entry of its directory is cut");
    }
    Entry entry{
        .member = {.name = std::string(base::as_text(directory.subspan(kEntryBytes, name_bytes))),
                   .method = number<std::uint16_t>(directory, 10),
                   .crc32 = number<std::uint32_t>(directory, 16),
                   .data_offset_bytes = number<std::uint32_t>(directory, 42),
                   .compressed_bytes = number<std::uint32_t>(directory, 20),
                   .size_bytes = number<std::uint32_t>(directory, 24)},
        .flags = number<std::uint16_t>(directory, 8)};
    OU_CHECK(
        read_zip64_field(directory.subspan(kEntryBytes + name_bytes, extra_bytes), entry.member));
    entries.push_back(std::move(entry));
    directory = directory.subspan(all);
  }
  return entries;
}

bool is_named_like_an_image(const std::string& name) {
  constexpr std::array<std::string_view, 7> kEndings = {
      ".img", ".raw", ".wic", ".bin", ".balenaos-img", ".sdcard", ".rpi-sdimg"};
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&name](std::string_view ending) { return name.ends_with(ending); });
}

Result<Entry> choose(std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& entry) {
    return entry.member.name.ends_with('/') || entry.member.name.starts_with("__MACOSX/");
  });
  if (entries.size() > 1) {
    std::erase_if(entries,
                  [](const Entry& entry) { return !is_named_like_an_image(entry.member.name); });
  }
  if (entries.size() != 1) {
    return Error(ErrorCode::kDiskImage,
                 entries.empty() ? "the zip archive holds no disk image"
                                 : "the zip archive holds several disk images, \"" +
                                       base::printable(entries[0].member.name) + "\" and \"" +
                                       base::printable(entries[1].member.name) +
                                       "\" among them: unpack it and name one");
  }
  return std::move(entries.front());
}

class ZipMemberSource final : public oci::ByteSource {
 public:
  ZipMemberSource(const ZipMember& member, std::unique_ptr<oci::ByteSource> content)
      : content_(std::move(content)), left_bytes_(member.size_bytes), expected_(member.crc32) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    OU_TRY(const std::size_t got, content_->read(buffer));
    if (got > left_bytes_ || (got == 0 && !buffer.empty() && left_bytes_ > 0)) {
      return damaged("its image is not as long as it says");
    }
    left_bytes_ -= got;
    crc_ = static_cast<std::uint32_t>(crc32_z(crc_, buffer.data(), got));
    if (got == 0 && !buffer.empty() && crc_ != expected_) {
      return damaged("the checksum of its image does not fit");
    }
    return got;
  }

 private:
  std::unique_ptr<oci::ByteSource> content_;
  std::uint64_t left_bytes_;
  std::uint32_t expected_;
  std::uint32_t crc_ = 0;
};

}  // namespace

Result<ZipMember> find_image_in_zip(const SharedFd& file, std::uint64_t file_bytes) {
  OU_TRY(const Directory directory, find_directory(file, file_bytes));
  OU_TRY(const base::Bytes bytes,
         read_exactly(file, directory.offset_bytes, static_cast<std::size_t>(directory.size_bytes),
                      "its directory"));
  OU_TRY(auto entries, read_directory(bytes));
  OU_TRY(Entry entry, choose(std::move(entries)));
  ZipMember& member = entry.member;
  const std::string name = "\"" + base::printable(member.name) + "\"";
  constexpr std::uint16_t kEncrypted = 1;
  if ((entry.flags & kEncrypted) != 0) {
    return Error(ErrorCode::kDiskImage, name + " in the zip archive is encrypted: unpack it first");
  }
  if (member.method != kStored && member.method != kDeflated) {
    return Error(ErrorCode::kDiskImage, name + " in the zip archive is packed with method " +
                                            std::to_string(member.method) +
                                            ", which is not known: unpack it first");
  }
  OU_TRY(const base::Bytes local, read_exactly(file, member.data_offset_bytes, kLocalBytes, name));
  if (number<std::uint32_t>(local, 0) != kLocalSignature) {
    return damaged(name + " is not where its directory says");
  }
  member.data_offset_bytes +=
      kLocalBytes + number<std::uint16_t>(local, 26) + number<std::uint16_t>(local, 28);
  if (member.data_offset_bytes > directory.offset_bytes ||
      member.compressed_bytes > directory.offset_bytes - member.data_offset_bytes) {
    return damaged(name + " lies outside of it");
  }
  return std::move(member);
}

std::unique_ptr<oci::ByteSource> open_zip_member(const ZipMember& member,
                                                 std::unique_ptr<oci::ByteSource> compressed) {
  return std::make_unique<ZipMemberSource>(member, member.method == kDeflated
                                                       ? open_deflate(std::move(compressed))
                                                       : std::move(compressed));
}

}  // namespace image
