#include "image/tar_split_writer.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_set>

#include "base/printable.hpp"
#include "base/sha256.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Status;

constexpr std::size_t kMaxSegmentBytes = std::size_t{1} * 1024 * 1024;
constexpr std::size_t kOutputBytes = std::size_t{64} * 1024;
constexpr int kGzip = 16;  // added to the window size
constexpr int kMemoryLevel = 8;

/// The length of the UTF-8 sequence that `text` starts with; 0 when there is none.
/// \source RFC 3629 section 4
std::size_t sequence_length(std::string_view text) {
  const auto byte = [text](std::size_t i) {
    return i < text.size() ? static_cast<std::uint8_t>(text[i]) : std::uint8_t{0};
  };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const std::uint8_t first = byte(0);
  if (first < 0x80) {
    return 1;
  }
  if (first >= 0xC2 && first <= 0xDF) {
    return follows(1) ? 2 : 0;
  }
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = first == 0xED && byte(1) > 0x9F;
    return follows(1) && follows(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool outside = (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F);
    return follows(1) && follows(2) && follows(3) && !outside ? 4 : 0;
  }
  return 0;
}

/// A JSON string as Go writes it, byte for byte: it escapes what HTML gives a meaning. Nothing when
/// `text` is not UTF-8.
std::optional<std::string> json_text(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "\"";
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    if (length == 0) {
      return std::nullopt;
    }
    const std::string_view one = text.substr(0, length);
    const auto first = static_cast<std::uint8_t>(one.front());
    if (one == "\"" || one == "\\") {
      result += '\\';
      result += one;
    } else if (one == "\n" || one == "\r" || one == "\t") {
      result += one == "\n" ? "\\n" : one == "\r" ? "\\r" : "\\t";
    } else if (first < 0x20 || one == "<" || one == ">" || one == "&") {
      result += "\\u00";
      result += kHex[first >> 4U];
      result += kHex[first & 0xFU];
    } else if (one == "\xE2\x80\xA8" || one == "\xE2\x80\xA9") {
      result += one.back() == '\xA8' ? "\\u2028" : "\\u2029";
    } else {
      result += one;
    }
    text.remove_prefix(length);
  }
  return result + "\"";
}

/// Stands for a name in the form in which engines compare names, that of Go's filepath.Clean. So
/// short that a set of them holds no memory beside its own.
std::string mark_of(const std::string& name) {
  constexpr std::size_t kMarkBytes = 15;
  std::string normal = std::filesystem::path(name).lexically_normal().generic_string();
  if (normal.size() > 1 && normal.ends_with('/')) {
    normal.pop_back();
  }
  const base::Sha256Hash hash = base::sha256(base::as_bytes(normal));
  return std::string(base::as_text(hash).substr(0, kMarkBytes));
}

}  // namespace

struct TarSplitWriter::State {
  z_stream stream{};
  base::Bytes output;
  base::Bytes segment;
  std::uint64_t position = 0;
  std::unordered_set<std::string> names;
};

TarSplitWriter::TarSplitWriter() : state_(std::make_unique<State>()) {
  // With memory for its windows it cannot fail; deflate() reports a stream that was never set up.
  static_cast<void>(deflateInit2(&state_->stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                                 MAX_WBITS + kGzip, kMemoryLevel, Z_DEFAULT_STRATEGY));
}

TarSplitWriter::~TarSplitWriter() {
  deflateEnd(&state_->stream);
}

Status TarSplitWriter::raw(base::ByteView bytes) {
  while (!bytes.empty()) {
    const std::size_t count = std::min(bytes.size(), kMaxSegmentBytes - state_->segment.size());
    state_->segment.insert(state_->segment.end(), bytes.begin(),
                           bytes.begin() + static_cast<std::ptrdiff_t>(count));
    bytes = bytes.subspan(count);
    if (state_->segment.size() == kMaxSegmentBytes) {
      OU_CHECK(end_segment());
    }
  }
  return base::ok();
}

Status TarSplitWriter::end_segment() {
  if (state_->segment.empty()) {
    return base::ok();
  }
  const std::string text = R"({"type":2,"payload":")" + base::to_base64(state_->segment) +
                           R"(","position":)" + std::to_string(state_->position++) + "}\n";
  state_->segment.clear();
  return line(text, Z_NO_FLUSH);
}

Status TarSplitWriter::file(const std::string& name, std::uint64_t size_bytes,
                            const std::array<std::uint8_t, 8>& crc64) {
  OU_CHECK(end_segment());
  if (state_->names.size() >= kMaxLayerEntries) {
    return Error(ErrorCode::kLimitExceeded, "a layer has more than a million entries");
  }
  if (!state_->names.insert(mark_of(name)).second) {
    return Error(ErrorCode::kImageInvalid, "the layer has two entries for " +
                                               base::printable(name) +
                                               ", which no engine takes: build the image again");
  }
  std::string text = R"({"type":1,)";
  const auto plain = json_text(name);
  text += plain ? "\"name\":" + *plain
                : "\"name_raw\":\"" + base::to_base64(base::as_bytes(name)) + "\"";
  text += size_bytes > 0 ? ",\"size\":" + std::to_string(size_bytes) + ",\"payload\":\"" +
                               base::to_base64(crc64) + "\""
                         : std::string(",\"payload\":null");
  text += ",\"position\":" + std::to_string(state_->position++) + "}\n";
  return line(text, Z_NO_FLUSH);
}

Status TarSplitWriter::line(const std::string& text, int flush) {
  z_stream& stream = state_->stream;
  const base::ByteView bytes = base::as_bytes(text);
  // zlib's interface lacks a const; it does not write there.
  stream.next_in =
      const_cast<Bytef*>(bytes.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::array<std::uint8_t, kOutputBytes> buffer{};
  int outcome = Z_OK;
  do {
    stream.next_out = buffer.data();
    stream.avail_out = buffer.size();
    outcome = deflate(&stream, flush);
    if (outcome == Z_STREAM_ERROR) {
      return Error(ErrorCode::kInternal, "zlib does not work");
    }
    state_->output.insert(state_->output.end(), buffer.begin(),
                          buffer.end() - static_cast<std::ptrdiff_t>(stream.avail_out));
    if (state_->output.size() > kMaxTarSplitBytes) {
      return Error(ErrorCode::kLimitExceeded,
                   "the record of a layer's archive is larger than 256 MiB: too many entries");
    }
  } while (stream.avail_out == 0 || (flush == Z_FINISH && outcome != Z_STREAM_END));
  return base::ok();
}

base::Result<base::Bytes> TarSplitWriter::finish() {
  OU_CHECK(end_segment());
  OU_CHECK(line("", Z_FINISH));
  return std::move(state_->output);
}

}  // namespace image
