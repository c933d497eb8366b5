#include "image/layer_tar.hpp"

#include <algorithm>
#include <limits>

#include "base/printable.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::size_t kInputBytes = std::size_t{256} * 1024;
constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";
// A sparse file's holes cost nothing in the archive, so its size says nothing by itself.
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{16} << 40U;  // as ext4 with blocks of 4 KiB

Error bad(const std::string& what) {
  return {ErrorCode::kImageInvalid, "not a readable tar archive: " + what};
}

std::size_t padding_of(std::uint64_t size_bytes) {
  return (kTarBlockBytes - size_bytes % kTarBlockBytes) % kTarBlockBytes;
}

bool all_zero(base::ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

Result<std::uint32_t> small(std::uint64_t value, const char* what, const std::string& name) {
  if (value > std::numeric_limits<std::uint32_t>::max()) {
    return Error(ErrorCode::kImageInvalid,
                 std::string(what) + " of " + base::printable(name) + " is above 32 bits");
  }
  return static_cast<std::uint32_t>(value);
}

Result<LayerEntry::Kind> kind_of(char type, const std::string& name) {
  switch (type) {
    case '0':
    case '7':
      return LayerEntry::Kind::kFile;
    case '\0':
      return name.ends_with('/') ? LayerEntry::Kind::kDirectory : LayerEntry::Kind::kFile;
    case '1':
      return LayerEntry::Kind::kHardlink;
    case '2':
      return LayerEntry::Kind::kSymlink;
    case '3':
      return LayerEntry::Kind::kCharDevice;
    case '4':
      return LayerEntry::Kind::kBlockDevice;
    case '5':
      return LayerEntry::Kind::kDirectory;
    case '6':
      return LayerEntry::Kind::kFifo;
    default:
      return Error(ErrorCode::kImageInvalid,
                   "the entry " + base::printable(name) + " is of a type (" +
                       base::printable(std::string(1, type)) +
                       ") that no engine extracts: build the image again without it");
  }
}

/// Offsets and lengths in turn, checked to be in order and inside.
Result<std::vector<Stretch>> to_stretches(const std::vector<std::uint64_t>& numbers,
                                          std::uint64_t size_bytes) {
  if (numbers.size() % 2 != 0 || numbers.size() / 2 > kMaxStretches) {
    return bad("the map of a sparse file is cut or too long");
  }
  std::vector<Stretch> stretches;
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < numbers.size(); i += 2) {
    const Stretch stretch{numbers[i], numbers[i + 1]};
    if (stretch.at < end || stretch.at > size_bytes ||
        stretch.size_bytes > size_bytes - stretch.at) {
      return bad("the map of a sparse file leaves the file or is not in order");
    }
    end = stretch.at + stretch.size_bytes;
    if (stretch.size_bytes > 0) {
      stretches.push_back(stretch);
    }
  }
  return stretches;
}

}  // namespace

struct LayerTar::Pending {
  std::string long_name;
  std::string long_target;
  std::map<std::string, std::string> pax;
  std::vector<std::uint64_t> sparse_numbers;  // of format 0.0, whose records repeat
  bool sparse = false;

  [[nodiscard]] const std::string* find(const std::string& key) const {
    const auto found = pax.find(key);
    return found == pax.end() || found->second.empty() ? nullptr : &found->second;
  }
};

LayerTar::LayerTar(oci::ByteSource& source, ArchiveRecord& record)
    : source_(source), record_(record), input_(kInputBytes), block_(kTarBlockBytes) {}

Result<std::size_t> LayerTar::read_source(std::span<std::uint8_t> buffer) {
  if (ahead_.empty()) {
    if (buffer.size() >= input_.size()) {
      return source_.read(buffer);
    }
    OU_TRY(const std::size_t got, source_.read(input_));
    ahead_ = base::ByteView(input_).first(got);
  }
  const std::size_t count = std::min(buffer.size(), ahead_.size());
  std::copy_n(ahead_.begin(), count, buffer.begin());
  ahead_ = ahead_.subspan(count);
  return count;
}

/// \return false at the end of the source
Result<bool> LayerTar::read_block(std::span<std::uint8_t> block) {
  std::size_t have = 0;
  while (have < block.size()) {
    OU_TRY(const std::size_t got, read_source(block.subspan(have)));
    if (got == 0 && have == 0) {
      return false;
    }
    if (got == 0) {
      return bad("it ends in the middle of an entry: the file is incomplete, copy it again");
    }
    have += got;
  }
  return true;
}

Status LayerTar::read_exactly(std::span<std::uint8_t> buffer) {
  OU_TRY(const bool there, read_block(buffer));
  if (!there && !buffer.empty()) {
    return bad("it ends in the middle of an entry: the file is incomplete, copy it again");
  }
  return base::ok();
}

/// \return false at the end of the archive, which has been recorded to its last byte then
Result<bool> LayerTar::read_header_block() {
  OU_TRY(bool there, read_block(block_));
  if (!there) {
    return false;
  }
  OU_CHECK(record_.raw(block_));
  if (!all_zero(block_)) {
    return true;
  }
  OU_TRY(there, read_block(block_));
  if (there) {
    OU_CHECK(record_.raw(block_));
    if (!all_zero(block_)) {
      return bad("something follows a block of zeros");
    }
  }
  OU_CHECK(record_rest());
  return false;
}

Status LayerTar::record_rest() {
  base::Bytes buffer(kInputBytes);
  for (;;) {
    OU_TRY(const std::size_t got, read_source(buffer));
    if (got == 0) {
      return base::ok();
    }
    OU_CHECK(record_.raw(base::ByteView(buffer).first(got)));
  }
}

Result<std::string> LayerTar::read_extra(std::uint64_t size_bytes) {
  if (size_bytes > kMaxTarExtraBytes) {
    return Error(ErrorCode::kLimitExceeded, "a tar header has more than 1 MiB of extra fields");
  }
  base::Bytes bytes(size_bytes + padding_of(size_bytes));
  OU_CHECK(read_exactly(bytes));
  OU_CHECK(record_.raw(bytes));
  return std::string(base::as_text(base::ByteView(bytes).first(size_bytes)));
}

Status LayerTar::take_extra(const TarHeader& header, Pending& pending) {
  OU_TRY(const std::string content, read_extra(header.size_bytes));
  const std::string until_zero = content.substr(0, content.find('\0'));
  if (header.type == 'L') {
    pending.long_name = until_zero;
    return base::ok();
  }
  if (header.type == 'K') {
    pending.long_target = until_zero;
    return base::ok();
  }
  pending.pax.clear();
  pending.sparse_numbers.clear();
  OU_TRY(const PaxRecords records, parse_pax_records(content));
  for (const auto& [key, value] : records) {
    if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {
      OU_TRY(const std::uint64_t number, parse_decimal(value));
      const bool offset_expected = pending.sparse_numbers.size() % 2 == 0;
      if (offset_expected != (key == "GNU.sparse.offset")) {
        return bad("the map of a sparse file is out of order");
      }
      pending.sparse_numbers.push_back(number);
    }
    pending.pax[key] = value;
  }
  return base::ok();
}

Result<std::optional<LayerEntry>> LayerTar::next() {
  OU_CHECK(end_content());
  Pending pending;
  for (;;) {
    OU_TRY(const bool there, read_header_block());
    if (!there) {
      return std::optional<LayerEntry>();
    }
    OU_TRY(const TarHeader header, parse_tar_header(block_));
    switch (header.type) {
      case 'L':
      case 'K':
      case 'x':
        OU_CHECK(take_extra(header, pending));
        continue;
      case 'g': {
        // Engines see it as an entry without content, and extract nothing.
        OU_TRY(const std::string ignored, read_extra(header.size_bytes));
        OU_CHECK(record_.file(header.name, 0, {}));
        continue;
      }
      default:
        break;
    }
    OU_TRY(LayerEntry entry, to_entry(header, pending));
    return std::optional(std::move(entry));
  }
}

Result<LayerEntry> LayerTar::to_entry(const TarHeader& header, const Pending& pending) {
  LayerEntry entry;
  const std::string* path = pending.find("path");
  const std::string* target = pending.find("linkpath");
  entry.name = !pending.long_name.empty() ? pending.long_name : path ? *path : header.name;
  entry.link_target = !pending.long_target.empty() ? pending.long_target
                      : target                     ? *target
                                                   : header.link_target;
  if (const std::string* name = pending.find("GNU.sparse.name")) {
    entry.name = *name;
  }
  OU_TRY(entry.kind, kind_of(header.type, entry.name));
  entry.permissions = static_cast<std::uint32_t>(header.mode & 07777U);
  std::uint64_t uid = header.uid;
  std::uint64_t gid = header.gid;
  std::uint64_t stored = header.size_bytes;
  entry.mtime_seconds = header.mtime_seconds;
  if (const std::string* text = pending.find("uid")) {
    OU_TRY(uid, parse_decimal(*text));
  }
  if (const std::string* text = pending.find("gid")) {
    OU_TRY(gid, parse_decimal(*text));
  }
  if (const std::string* text = pending.find("size")) {
    OU_TRY(stored, parse_decimal(*text));
  }
  if (const std::string* text = pending.find("mtime")) {
    OU_TRY(const auto time, parse_pax_time(*text));
    entry.mtime_seconds = time.first;
    entry.mtime_nanoseconds = time.second;
  }
  OU_TRY(entry.uid, small(uid, "the owner", entry.name));
  OU_TRY(entry.gid, small(gid, "the group", entry.name));
  OU_TRY(entry.device_major, small(header.device_major, "the device number", entry.name));
  OU_TRY(entry.device_minor, small(header.device_minor, "the device number", entry.name));
  for (const auto& [key, value] : pending.pax) {
    if (key.starts_with(kXattrPrefix) && !value.empty()) {
      entry.xattrs[key.substr(kXattrPrefix.size())] = value;
    }
  }
  OU_CHECK(start_content(entry, pending, stored));
  return entry;
}

Status LayerTar::start_content(LayerEntry& entry, const Pending& pending,
                               std::uint64_t stored_bytes) {
  in_entry_ = true;
  file_name_ = entry.name;
  crc_ = Crc64();
  sparse_ = false;
  // Only files have content, whatever an old program wrote as the size of a link.
  content_left_ = entry.kind == LayerEntry::Kind::kFile ? stored_bytes : 0;
  padding_ = padding_of(content_left_);
  file_bytes_ = entry.size_bytes = content_left_;
  const std::string* real_size = pending.find("GNU.sparse.realsize");
  if (real_size == nullptr) {
    real_size = pending.find("GNU.sparse.size");
  }
  if (entry.kind != LayerEntry::Kind::kFile || real_size == nullptr) {
    if (content_left_ > kMaxFileBytes) {
      return Error(ErrorCode::kLimitExceeded, "a file in a layer is larger than 16 TiB");
    }
    if (content_left_ > 0) {
      entry.stretches = {{0, content_left_}};
    }
    return base::ok();
  }
  sparse_ = true;
  OU_TRY(entry.size_bytes, parse_decimal(*real_size));
  if (entry.size_bytes > kMaxFileBytes || content_left_ > kMaxFileBytes) {
    return Error(ErrorCode::kLimitExceeded, "a file in a layer is larger than 16 TiB");
  }
  std::vector<std::uint64_t> numbers = pending.sparse_numbers;
  if (const std::string* major = pending.find("GNU.sparse.major"); major && *major == "1") {
    OU_TRY(numbers, read_sparse_map());
  } else if (const std::string* map = pending.find("GNU.sparse.map")) {
    numbers.clear();
    std::string_view rest = *map;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      OU_TRY(const std::uint64_t number, parse_decimal(rest.substr(0, comma)));
      numbers.push_back(number);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  OU_TRY(entry.stretches, to_stretches(numbers, entry.size_bytes));
  std::uint64_t content = 0;
  for (const Stretch& stretch : entry.stretches) {
    content += stretch.size_bytes;
  }
  if (content != content_left_) {
    return bad("the map of a sparse file does not fit its content");
  }
  return base::ok();
}

/// The map of format 1.0: numbers on lines of their own, in whole blocks before the content.
Result<std::vector<std::uint64_t>> LayerTar::read_sparse_map() {
  std::vector<std::uint64_t> numbers;
  std::string text;
  std::uint64_t expected = 1;  // the number of stretches comes first
  while (numbers.size() < expected) {
    const std::size_t line = text.find('\n');
    if (line == std::string::npos) {
      if (text.size() > kTarBlockBytes || content_left_ < kTarBlockBytes) {
        return bad("the map of a sparse file is cut");
      }
      OU_CHECK(read_exactly(block_));
      OU_CHECK(record_.raw(block_));
      content_left_ -= kTarBlockBytes;
      text += base::as_text(block_);
      continue;
    }
    OU_TRY(const std::uint64_t number, parse_decimal(std::string_view(text).substr(0, line)));
    text.erase(0, line + 1);
    if (numbers.empty()) {
      if (number > kMaxStretches) {
        return Error(ErrorCode::kLimitExceeded, "a sparse file has more than 65536 parts");
      }
      expected = 1 + number * 2;
    }
    numbers.push_back(number);
  }
  numbers.erase(numbers.begin());
  return numbers;
}

Result<std::size_t> LayerTar::read(std::span<std::uint8_t> buffer) {
  const auto wanted =
      static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), content_left_));
  if (wanted == 0) {
    return std::size_t{0};
  }
  OU_TRY(const std::size_t got, read_source(buffer.first(wanted)));
  if (got == 0) {
    return bad("it ends in the middle of a file: the file is incomplete, copy it again");
  }
  content_left_ -= got;
  const base::ByteView bytes = buffer.first(got);
  if (sparse_) {
    OU_CHECK(record_.raw(bytes));
  } else {
    crc_.update(bytes);
  }
  return got;
}

Status LayerTar::end_content() {
  if (!in_entry_) {
    return base::ok();
  }
  in_entry_ = false;
  base::Bytes buffer(content_left_ > 0 ? kInputBytes : 0);
  while (content_left_ > 0) {
    OU_TRY(const std::size_t got, read(buffer));
    static_cast<void>(got);
  }
  if (sparse_) {
    OU_CHECK(record_.file(file_name_, 0, {}));
  } else {
    OU_CHECK(record_.file(file_name_, file_bytes_, crc_.value()));
  }
  std::array<std::uint8_t, kTarBlockBytes> padding{};
  const auto rest = std::span(padding).first(padding_);
  OU_CHECK(read_exactly(rest));
  return rest.empty() ? base::ok() : record_.raw(rest);
}

}  // namespace image
