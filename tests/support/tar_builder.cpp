#include "support/tar_builder.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <random>
#include <stdexcept>

#include "base/handle.hpp"

namespace support {
namespace {

using Writer = base::Handle<archive, archive_write_free>;
using Entry = base::Handle<archive_entry, archive_entry_free>;

void check(bool good, const char* what) {
  if (!good) {
    throw std::runtime_error(what);
  }
}

la_ssize_t append(archive* /*writer*/, void* output, const void* bytes, std::size_t size) {
  static_cast<std::string*>(output)->append(static_cast<const char*>(bytes), size);
  return static_cast<la_ssize_t>(size);
}

Entry new_entry(const std::string& name, unsigned type, unsigned mode) {
  Entry entry(archive_entry_new());
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_filetype(entry.get(), type);
  archive_entry_set_perm(entry.get(), mode);
  archive_entry_set_mtime(entry.get(), 0, 0);
  archive_entry_set_size(entry.get(), 0);
  return entry;
}

}  // namespace

struct TarBuilder::State {
  std::string bytes;
  Writer writer{archive_write_new()};

  void add(const Entry& entry, std::string_view content = {}) {
    check(archive_write_header(writer.get(), entry.get()) >= ARCHIVE_WARN, "tar header");
    if (!content.empty()) {
      check(archive_write_data(writer.get(), content.data(), content.size()) ==
                static_cast<la_ssize_t>(content.size()),
            "tar content");
    }
  }
};

TarBuilder::TarBuilder() : state_(std::make_unique<State>()) {
  archive* writer = state_->writer.get();
  check(archive_write_set_format_pax_restricted(writer) == ARCHIVE_OK, "tar format");
  archive_write_set_bytes_per_block(writer, 512);
  check(archive_write_open(writer, &state_->bytes, nullptr, append, nullptr) == ARCHIVE_OK,
        "tar open");
}

TarBuilder::~TarBuilder() = default;

TarBuilder& TarBuilder::file(const std::string& name, std::string_view content, unsigned mode) {
  const Entry entry = new_entry(name, AE_IFREG, mode);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  state_->add(entry, content);
  return *this;
}

TarBuilder& TarBuilder::directory(const std::string& name, unsigned mode) {
  state_->add(new_entry(name, AE_IFDIR, mode));
  return *this;
}

TarBuilder& TarBuilder::symlink(const std::string& name, const std::string& target) {
  const Entry entry = new_entry(name, AE_IFLNK, 0777);
  archive_entry_set_symlink(entry.get(), target.c_str());
  state_->add(entry);
  return *this;
}

TarBuilder& TarBuilder::hardlink(const std::string& name, const std::string& target) {
  const Entry entry = new_entry(name, AE_IFREG, 0644);
  archive_entry_set_hardlink(entry.get(), target.c_str());
  state_->add(entry);
  return *this;
}

TarBuilder& TarBuilder::fifo(const std::string& name) {
  state_->add(new_entry(name, AE_IFIFO, 0644));
  return *this;
}

TarBuilder& TarBuilder::device(const std::string& name, unsigned major, unsigned minor) {
  const Entry entry = new_entry(name, AE_IFCHR, 0644);
  archive_entry_set_rdevmajor(entry.get(), major);
  archive_entry_set_rdevminor(entry.get(), minor);
  state_->add(entry);
  return *this;
}

TarBuilder& TarBuilder::whiteout(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::size_t base = slash == std::string::npos ? 0 : slash + 1;
  return file(path.substr(0, base) + ".wh." + path.substr(base), "");
}

TarBuilder& TarBuilder::opaque(const std::string& directory) {
  return file(directory + "/.wh..wh..opq", "");
}

std::string TarBuilder::finish() {
  check(archive_write_close(state_->writer.get()) == ARCHIVE_OK, "tar close");
  return std::move(state_->bytes);
}

std::string gzip(std::string_view bytes) {
  constexpr int kGzipFormat = 16;
  z_stream stream{};
  check(
      deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + kGzipFormat, 8, Z_DEFAULT_STRATEGY) == Z_OK,
      "gzip start");
  std::string input(bytes);
  std::string output(deflateBound(&stream, input.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(output.data());
  stream.avail_out = static_cast<uInt>(output.size());
  const int outcome = deflate(&stream, Z_FINISH);
  output.resize(stream.total_out);
  deflateEnd(&stream);
  check(outcome == Z_STREAM_END, "gzip");
  return output;
}

std::string zstd(std::string_view bytes, int level, int window_log) {
  const base::Handle<ZSTD_CCtx, ZSTD_freeCCtx> context(ZSTD_createCCtx());
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, window_log);
  // Without a content size the frame header states the window as it was asked for.
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 0);
  std::string output(ZSTD_compressBound(bytes.size()), '\0');
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  ZSTD_outBuffer out{output.data(), output.size(), 0};
  check(ZSTD_compressStream2(context.get(), &out, &in, ZSTD_e_flush) == 0, "zstd");
  check(ZSTD_compressStream2(context.get(), &out, &in, ZSTD_e_end) == 0, "zstd end");
  output.resize(out.pos);
  return output;
}

std::string noise(std::size_t size, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  std::generate(bytes.begin(), bytes.end(), [&random] { return static_cast<char>(random()); });
  return bytes;
}

}  // namespace support
