#include "image/tar_split.hpp"

#include <algorithm>
#include <optional>

#include "base/bytes.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "image/crc64.hpp"
#include "oci/decoder.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;
using base::Status;

constexpr std::size_t kReadBytes = std::size_t{64} * 1024;
constexpr std::size_t kMaxPartBytes = 255;
constexpr std::size_t kMaxNameBytes = 64 * 1024;
constexpr std::size_t kCrcBytes = 8;
constexpr std::uint64_t kFileEntry = 1;
constexpr std::uint64_t kSegmentEntry = 2;

Error invalid(const std::string& what) {
  return {ErrorCode::kImageInvalid, what};
}

/// The lines of a record, one in memory at a time.
class LineReader {
 public:
  explicit LineReader(std::unique_ptr<oci::ByteSource> source)
      : source_(std::move(source)), buffer_(kReadBytes) {}

  /// Without its end; nothing at the end of the record.
  Result<std::optional<std::string>> next() {
    std::string line;
    for (;;) {
      if (rest_.empty()) {
        OU_TRY(const std::size_t got, source_->read(buffer_));
        if (got == 0) {
          return line.empty() ? std::nullopt : std::optional(std::move(line));
        }
        rest_ = base::as_text(base::ByteView(buffer_).first(got));
      }
      const std::size_t end = rest_.find('\n');
      const std::string_view piece = rest_.substr(0, end);
      if (line.size() + piece.size() > kMaxTarSplitLineBytes) {
        return Error(ErrorCode::kLimitExceeded,
                     "a line of the layer's record is longer than 32 MiB");
      }
      line += piece;
      rest_.remove_prefix(std::min(piece.size() + 1, rest_.size()));
      if (end != std::string_view::npos) {
        return std::optional(std::move(line));
      }
    }
  }

 private:
  std::unique_ptr<oci::ByteSource> source_;
  base::Bytes buffer_;
  std::string_view rest_;
};

struct Entry {
  bool is_file;
  std::string name;              // of a file: hostile
  std::uint64_t size_bytes = 0;  // of a file
  base::Bytes payload;           // of a segment; of a file with content its checksum
};

Result<base::Bytes> read_base64(base::JsonObject& object, const std::string& key) {
  const Json& value = object.value(key, false);
  if (value.is_null()) {
    return base::Bytes();
  }
  if (value.is_string()) {
    if (auto bytes = base::from_base64(value.get_ref<const std::string&>())) {
      return *std::move(bytes);
    }
  }
  return invalid(key + " is no base64");
}

Result<Entry> parse_entry(const std::string& line, std::uint64_t position) {
  auto json = base::parse_json(line, {.max_bytes = kMaxTarSplitLineBytes,
                                      .max_depth = 2,
                                      .max_values = 32,
                                      .max_string_bytes = kMaxTarSplitLineBytes});
  if (!json) {
    return std::move(json).error().as(ErrorCode::kImageInvalid);
  }
  base::JsonObject object(*json, "");
  const std::uint64_t type = object.number("type");
  const std::uint64_t found = object.number("position");
  Entry entry{type == kFileEntry,
              object.optional_text("name", kMaxNameBytes).value_or(""),
              object.optional_number("size").value_or(0),
              {}};
  // A name that is no UTF-8 comes as bytes.
  OU_TRY(const base::Bytes raw_name, read_base64(object, "name_raw"));
  OU_TRY(entry.payload, read_base64(object, "payload"));
  if (auto finished = object.finish_open(); !finished) {
    return std::move(finished).error().as(ErrorCode::kImageInvalid);
  }
  if (!raw_name.empty()) {
    entry.name = base::as_text(raw_name);
  }
  if (type != kFileEntry && type != kSegmentEntry) {
    return invalid("there is no entry of type " + std::to_string(type));
  }
  if (found != position) {
    return invalid("it has the position " + std::to_string(found));
  }
  if (entry.is_file && entry.size_bytes > 0 && entry.payload.size() != kCrcBytes) {
    return invalid("a file's checksum does not have 8 bytes");
  }
  return entry;
}

class TarSplitSource final : public oci::ByteSource {
 public:
  TarSplitSource(std::unique_ptr<oci::ByteSource> record, std::unique_ptr<LayerContent> content)
      : lines_(oci::open_decoder(std::move(record), oci::Encoding::kGzip)),
        content_(std::move(content)) {}

  Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    while (!buffer.empty() && !done_) {
      if (file_) {
        return read_file(buffer);
      }
      if (segment_at_ < entry_.payload.size()) {
        return read_segment(buffer);
      }
      OU_CHECK(next_entry());
    }
    return std::size_t{0};
  }

 private:
  Status next_entry() {
    const std::string where = "line " + std::to_string(position_ + 1) + " of the layer's record";
    OU_TRY(const auto line, lines_.next().within(where));
    if (!line) {
      done_ = true;
      return base::ok();
    }
    OU_TRY(entry_, parse_entry(*line, position_).within(where));
    ++position_;
    segment_at_ = 0;
    if (!entry_.is_file) {
      return base::ok();
    }
    segment_at_ = entry_.payload.size();
    if (entry_.size_bytes > 0) {
      OU_TRY(file_, content_->open(entry_.name, entry_.size_bytes));
      left_bytes_ = entry_.size_bytes;
      crc_ = Crc64();
    }
    return base::ok();
  }

  std::size_t read_segment(std::span<std::uint8_t> buffer) {
    const std::size_t count = std::min(buffer.size(), entry_.payload.size() - segment_at_);
    std::copy_n(entry_.payload.begin() + static_cast<std::ptrdiff_t>(segment_at_), count,
                buffer.begin());
    segment_at_ += count;
    return count;
  }

  Result<std::size_t> read_file(std::span<std::uint8_t> buffer) {
    const std::size_t wanted = std::min<std::uint64_t>(buffer.size(), left_bytes_);
    auto got_or_error = file_->read(buffer.first(wanted));
    if (!got_or_error) {
      return std::move(got_or_error).error().within(base::printable(entry_.name));
    }
    const std::size_t got = *got_or_error;
    if (got == 0) {
      return invalid(base::printable(entry_.name) + " is shorter than its layer's record says");
    }
    crc_.update(buffer.first(got));
    left_bytes_ -= got;
    if (left_bytes_ == 0) {
      file_.reset();
      const auto sum = crc_.value();
      if (!std::equal(sum.begin(), sum.end(), entry_.payload.begin(), entry_.payload.end())) {
        return invalid(base::printable(entry_.name) +
                       " has been changed since its layer was extracted");
      }
    }
    return got;
  }

  LineReader lines_;
  std::unique_ptr<LayerContent> content_;
  std::unique_ptr<oci::ByteSource> file_;  // of content_, so it has to go first
  Entry entry_{false, "", 0, {}};
  std::uint64_t position_ = 0;
  std::size_t segment_at_ = 0;
  std::uint64_t left_bytes_ = 0;
  Crc64 crc_;
  bool done_ = false;
};

}  // namespace

Result<std::vector<std::string_view>> split_layer_path(std::string_view name) {
  const auto refuse = [name](const std::string& why) {
    return invalid("a layer has the file name \"" + base::printable(name) + "\", which " + why);
  };
  if (name.find('\0') != std::string_view::npos) {
    return refuse("has a NUL in it");
  }
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    at = end + 1;
    if (part.empty() || part == ".") {
      continue;
    }
    if (part == "..") {
      return refuse("leads out of its directory");
    }
    if (part.size() > kMaxPartBytes) {
      return refuse("no file system can hold");
    }
    parts.push_back(part);
  }
  if (parts.empty()) {
    return refuse("names no file");
  }
  return parts;
}

std::unique_ptr<oci::ByteSource> open_tar_split(std::unique_ptr<oci::ByteSource> record,
                                                std::unique_ptr<LayerContent> content) {
  return std::make_unique<TarSplitSource>(std::move(record), std::move(content));
}

}  // namespace image
