#include "bundle/blob_writer.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "base/files.hpp"
#include "bundle/frame_compressor.hpp"
#include "oci/decoder.hpp"

namespace bundle {
namespace {

using base::Bytes;
using base::ByteView;
using base::Error;
using base::ErrorCode;

constexpr std::size_t kSniffBytes = 16;

/// A file under a temporary name that is removed unless it is kept under its digest.
class Candidate {
 public:
  static base::Result<Candidate> create(const std::filesystem::path& blobs, const char* suffix) {
    Candidate candidate;
    candidate.path_ = blobs / (std::string("partial") + suffix);
    OU_TRY(candidate.fd_, base::open_file(candidate.path_, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    return candidate;
  }
  Candidate(Candidate&& other) noexcept = default;
  Candidate& operator=(Candidate&&) = delete;
  ~Candidate() {
    if (fd_.valid()) {
      ::unlink(path_.c_str());
    }
  }

  base::Status write(ByteView bytes) {
    OU_CHECK(base::write_all(fd_.get(), bytes).within(path_.string()));
    hash_.update(bytes);
    size_ += bytes.size();
    return base::ok();
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }

  /// Renames the file to its digest. A file of that name has the same content and is replaced by
  /// it.
  base::Result<oci::Digest> keep() {
    const oci::Digest digest(hash_.finish());
    if (::rename(path_.c_str(), (path_.parent_path() / digest.hex()).c_str()) != 0) {
      return Error::from_errno(errno, "rename " + path_.string());
    }
    fd_.reset();
    return digest;
  }

 private:
  Candidate() = default;
  std::filesystem::path path_;
  base::UniqueFd fd_;
  base::Sha256 hash_;
  std::uint64_t size_ = 0;
};

/// Hashes pieces of a fixed size of a stream that arrives in pieces of any size.
class FixedChunks {
 public:
  explicit FixedChunks(std::uint32_t chunk_bytes) : left_(chunk_bytes) {
    table_.size_bytes = chunk_bytes;
  }
  void add(ByteView bytes) {
    while (!bytes.empty()) {
      const auto count = std::min<std::size_t>(left_, bytes.size());
      hash_.update(bytes.first(count));
      bytes = bytes.subspan(count);
      left_ -= static_cast<std::uint32_t>(count);
      if (left_ == 0) {
        close();
      }
    }
  }
  ChunkTable finish() {
    if (left_ != table_.size_bytes) {
      close();
    }
    return std::move(table_);
  }

 private:
  void close() {
    table_.hashes.push_back(hash_.finish());
    left_ = table_.size_bytes;
  }
  ChunkTable table_;
  base::Sha256 hash_;
  std::uint32_t left_;
};

/// A stream whose first bytes were looked at already, and which is recorded as it is read.
class RecordedSource final : public oci::ByteSource {
 public:
  RecordedSource(std::unique_ptr<oci::ByteSource> source, Bytes first, Candidate* record,
                 FixedChunks* chunks, base::ProgressSink& progress)
      : source_(std::move(source)),
        first_(std::move(first)),
        record_(record),
        chunks_(chunks),
        progress_(progress) {}

  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    std::size_t count = 0;
    if (!first_.empty()) {
      count = std::min(buffer.size(), first_.size());
      std::copy_n(first_.begin(), count, buffer.begin());
      first_.erase(first_.begin(), first_.begin() + static_cast<long>(count));
    } else {
      OU_TRY(count, source_->read(buffer));
    }
    const ByteView bytes = buffer.first(count);
    if (record_ != nullptr) {
      OU_CHECK(record_->write(bytes));
      chunks_->add(bytes);
    }
    progress_.advance(count);
    return count;
  }

 private:
  std::unique_ptr<oci::ByteSource> source_;
  Bytes first_;
  Candidate* record_;
  FixedChunks* chunks_;
  base::ProgressSink& progress_;
};

/// Fills `buffer` as far as the source goes. \return bytes read
base::Result<std::size_t> read_full(oci::ByteSource& source, std::span<std::uint8_t> buffer) {
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    OU_TRY(const auto got, source.read(buffer.subspan(filled)));
    if (got == 0) {
      break;
    }
    filled += got;
  }
  return filled;
}

/// What came out of compressing a layer.
struct Compressed {
  ChunkTable table;
  oci::Digest diff_id;
  std::uint64_t uncompressed_bytes = 0;
  oci::LayerUsage usage;
};

base::Status write_frame(FrameCompressor& compressor, Candidate& file, ChunkTable& table) {
  OU_TRY(const auto frame, compressor.take());
  if (frame) {
    OU_CHECK(file.write(*frame));
    table.lengths.push_back(static_cast<std::uint32_t>(frame->size()));
    table.hashes.push_back(base::sha256(*frame));
  }
  return base::ok();
}

base::Result<Compressed> compress(oci::ByteSource& plain, Candidate& file,
                                  const PackOptions& options) {
  FrameCompressor compressor(options.zstd_level, options.threads);
  oci::LayerMeter meter;
  base::Sha256 hash;
  Compressed out{.table = {.kind = ChunkTable::Kind::kFrames, .size_bytes = options.chunk_bytes},
                 .diff_id = oci::Digest::of({}),
                 .uncompressed_bytes = 0,
                 .usage = {}};
  for (;;) {
    Bytes piece(options.chunk_bytes);
    OU_TRY(const auto size, read_full(plain, piece));
    if (size == 0) {
      break;
    }
    piece.resize(size);
    hash.update(piece);
    meter.feed(piece);
    out.uncompressed_bytes += size;
    if (out.uncompressed_bytes > kMaxUncompressedBytes) {
      return Error(ErrorCode::kLimitExceeded, "the layer is larger than 64 GiB");
    }
    if (compressor.full()) {
      OU_CHECK(write_frame(compressor, file, out.table));
    }
    compressor.put(std::move(piece));
  }
  while (out.table.hashes.size() * options.chunk_bytes < out.uncompressed_bytes) {
    OU_CHECK(write_frame(compressor, file, out.table));
  }
  out.diff_id = oci::Digest(hash.finish());
  OU_TRY(out.usage, meter.finish());
  return out;
}

base::Status check_options(const PackOptions& options) {
  if (options.zstd_level < 1 || options.zstd_level > 19) {
    return Error(ErrorCode::kUsage, "the compression level has to be from 1 to 19");
  }
  if (options.chunk_bytes < kMinChunkBytes || options.chunk_bytes > kMaxChunkBytes) {
    return Error(ErrorCode::kUsage, "the chunk size has to be from 64 KiB to 4 MiB");
  }
  return base::ok();
}

base::Status check_size(std::uint64_t size, const oci::Digest& diff_id) {
  if (size <= kMaxBlobBytes) {
    return base::ok();
  }
  return Error(ErrorCode::kBlobTooLarge,
               "layer " + diff_id.text() + " takes " + std::to_string(size) +
                   " bytes even compressed; a file on FAT32 has at most 4 GiB - 1: split the layer "
                   "(several RUN or COPY steps), or raise --level");
}

}  // namespace

base::Result<PackedLayer> pack_layer(std::unique_ptr<oci::ByteSource> source,
                                     const oci::Digest& diff_id, const std::filesystem::path& blobs,
                                     const PackOptions& options, base::ProgressSink& progress) {
  OU_CHECK(check_options(options));
  Bytes first(kSniffBytes);
  OU_TRY(const auto sniffed, read_full(*source, first));
  first.resize(sniffed);
  const auto encoding = oci::sniff_encoding(first);

  OU_TRY(auto frames, Candidate::create(blobs, ".frames"));
  OU_TRY(auto as_it_came, Candidate::create(blobs, ".came"));
  FixedChunks fixed(options.chunk_bytes);
  const bool compressed = encoding != oci::Encoding::kNone;
  const auto plain = oci::open_decoder(
      std::make_unique<RecordedSource>(std::move(source), std::move(first),
                                       compressed ? &as_it_came : nullptr, &fixed, progress),
      encoding);
  OU_TRY(auto packed, compress(*plain, frames, options));
  if (packed.diff_id != diff_id) {
    return Error(ErrorCode::kImageInvalid, "the layer hashes to " + packed.diff_id.text() +
                                               ", the image names " + diff_id.text() +
                                               ": the source is damaged");
  }
  const bool keep_as_it_came = compressed && as_it_came.size() < frames.size();
  auto& kept = keep_as_it_came ? as_it_came : frames;
  OU_CHECK(check_size(kept.size(), diff_id));
  const auto size = kept.size();
  OU_TRY(const auto digest, kept.keep());
  return PackedLayer{.blob = {.digest = digest,
                              .size_bytes = size,
                              .encoding = keep_as_it_came ? encoding : oci::Encoding::kZstd,
                              .uncompressed_digest = diff_id,
                              .uncompressed_size_bytes = packed.uncompressed_bytes,
                              .chunks = keep_as_it_came ? fixed.finish() : packed.table},
                     .usage = packed.usage};
}

base::Result<Blob> store_document(std::string_view bytes, const std::filesystem::path& blobs,
                                  std::uint32_t chunk_bytes) {
  OU_TRY(auto file, Candidate::create(blobs, ".document"));
  FixedChunks chunks(chunk_bytes);
  OU_CHECK(file.write(base::as_bytes(bytes)));
  chunks.add(base::as_bytes(bytes));
  OU_TRY(const auto digest, file.keep());
  return Blob{digest, bytes.size(), oci::Encoding::kNone, digest, bytes.size(), chunks.finish()};
}

}  // namespace bundle
