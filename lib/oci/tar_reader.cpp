#include "oci/tar_reader.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <cerrno>
#include <clocale>

#include "base/bytes.hpp"
#include "base/handle.hpp"
#include "base/printable.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kInputBytes = std::size_t{256} * 1024;

// libarchive converts names to the locale's character set and gives none where that fails, so names
// would depend on the caller's environment.
class Utf8Scope {
 public:
  Utf8Scope() : previous_(::uselocale(utf8())) {}
  Utf8Scope(const Utf8Scope&) = delete;
  Utf8Scope& operator=(const Utf8Scope&) = delete;
  ~Utf8Scope() { ::uselocale(previous_); }

 private:
  static locale_t utf8() {
    static const locale_t kUtf8 = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return kUtf8;
  }
  locale_t previous_;
};

std::string text_or_empty(const char* text) {
  return text == nullptr ? "" : text;
}

TarEntry::Kind kind_of(archive_entry* entry) {
  if (archive_entry_hardlink(entry) != nullptr) {
    return TarEntry::Kind::kHardlink;
  }
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
      return TarEntry::Kind::kFile;
    case AE_IFDIR:
      return TarEntry::Kind::kDirectory;
    case AE_IFLNK:
      return TarEntry::Kind::kSymlink;
    default:
      return TarEntry::Kind::kOther;
  }
}

TarEntry to_entry(archive_entry* entry) {
  const TarEntry::Kind kind = kind_of(entry);
  const la_int64_t size = archive_entry_size(entry);
  std::string target;
  if (kind == TarEntry::Kind::kHardlink) {
    target = text_or_empty(archive_entry_hardlink(entry));
  } else if (kind == TarEntry::Kind::kSymlink) {
    target = text_or_empty(archive_entry_symlink(entry));
  }
  return {text_or_empty(archive_entry_pathname(entry)), kind,
          size < 0 ? 0 : static_cast<std::uint64_t>(size), std::move(target)};
}

}  // namespace

struct TarReader::State {
  std::unique_ptr<ByteSource> source;
  SkippableSource* skippable = nullptr;
  base::Bytes buffer = base::Bytes(kInputBytes);
  std::optional<Error> source_error;
  bool open = false;
  base::Handle<archive, archive_read_free> reader{archive_read_new()};

  static la_ssize_t on_read(archive* reader, void* self, const void** bytes) {
    auto* state = static_cast<State*>(self);
    auto got = state->source->read(state->buffer);
    if (!got) {
      state->source_error = std::move(got).error();
      archive_set_error(reader, EIO, "read failed");
      return ARCHIVE_FATAL;
    }
    *bytes = state->buffer.data();
    return static_cast<la_ssize_t>(*got);
  }

  static la_int64_t on_skip(archive* /*reader*/, void* self, la_int64_t count) {
    auto* state = static_cast<State*>(self);
    return static_cast<la_int64_t>(state->skippable->skip(static_cast<std::uint64_t>(count)));
  }

  base::Status start() {
    if (open) {
      return base::ok();
    }
    archive* raw = reader.get();
    archive_read_support_format_tar(raw);
    archive_read_support_format_empty(raw);
    archive_read_set_read_callback(raw, on_read);
    archive_read_set_callback_data(raw, this);
    if (skippable != nullptr) {
      archive_read_set_skip_callback(raw, on_skip);
    }
    if (archive_read_open1(raw) != ARCHIVE_OK) {
      return failure();
    }
    open = true;
    return base::ok();
  }

  Error failure() {
    if (source_error) {
      return *source_error;
    }
    return Error(ErrorCode::kImageInvalid,
                 "not a readable tar archive: " +
                     base::printable(text_or_empty(archive_error_string(reader.get()))));
  }
};

TarReader::TarReader(std::unique_ptr<ByteSource> source) : state_(std::make_unique<State>()) {
  state_->source = std::move(source);
}

TarReader::TarReader(std::unique_ptr<SkippableSource> source) : state_(std::make_unique<State>()) {
  state_->skippable = source.get();
  state_->source = std::move(source);
}

TarReader::~TarReader() = default;

base::Result<std::optional<TarEntry>> TarReader::next() {
  const Utf8Scope utf8;
  OU_CHECK(state_->start());
  archive_entry* entry = nullptr;
  switch (archive_read_next_header(state_->reader.get(), &entry)) {
    case ARCHIVE_OK:
    case ARCHIVE_WARN:  // a name or attribute that libarchive does not understand in full
      return std::optional(to_entry(entry));
    case ARCHIVE_EOF:
      return std::optional<TarEntry>();
    default:
      return state_->failure();
  }
}

base::Result<std::size_t> TarReader::read(std::span<std::uint8_t> buffer) {
  const la_ssize_t got = archive_read_data(state_->reader.get(), buffer.data(), buffer.size());
  if (got < 0) {
    return state_->failure();
  }
  return static_cast<std::size_t>(got);
}

}  // namespace oci
