#include "image/drive_writer.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "base/sizes.hpp"
#include "image/image_pieces.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr unsigned kReaders = 2;  // one reads while the other hashes

Error differs(std::uint64_t at, std::uint64_t length) {
  return Error(ErrorCode::kDriveAltered,
               "the drive gives back other data than was written to it, in the " +
                   std::to_string(length) + " bytes from byte " + std::to_string(at) +
                   ": it is worn out or smaller than it says; use another one");
}

/// What has to be on the drive.
struct Record {
  std::uint64_t at;
  std::uint64_t length;
  std::optional<base::Sha256Hash> hash;  // nothing: all zeros
};

/// A part of the image that is written when all else is on the drive.
struct Held {
  std::uint64_t at;
  std::uint64_t length;
  AlignedBuffer bytes;
};

/// Reads records back, each by whoever is free.
class ReadBack {
 public:
  ReadBack(const BlockTarget& drive, const std::vector<Record>& records,
           const std::atomic<bool>* stop, base::ProgressSink& progress)
      : drive_(drive), records_(records), stop_(stop), progress_(progress) {}

  Status run() {
    std::vector<std::thread> readers;
    for (unsigned i = 0; i < kReaders; ++i) {
      readers.emplace_back([this] { read_records(); });
    }
    for (std::thread& reader : readers) {
      reader.join();
    }
    return failure_ ? Status(*failure_) : base::ok();
  }

 private:
  void read_records() {
    const AlignedBuffer buffer(kPieceBytes);
    for (std::size_t index = next_++; index < records_.size() && !failed_; index = next_++) {
      if (auto status = check(records_[index], buffer); !status) {
        const std::lock_guard lock(mutex_);
        failed_ = true;
        if (!failure_) {
          failure_ = status.error();
        }
      }
    }
  }

  Status check(const Record& record, const AlignedBuffer& buffer) {
    base::Sha256 hash;
    std::uint64_t step = 0;
    for (std::uint64_t at = record.at; at < record.at + record.length; at += step) {
      if (stop_ != nullptr && *stop_) {
        return Error(ErrorCode::kCancelled, "stopped");
      }
      step = std::min<std::uint64_t>(kPieceBytes, record.at + record.length - at);
      const auto bytes = buffer.span().first(step);
      OU_CHECK(drive_.read(at, bytes));
      if (record.hash) {
        hash.update(bytes);
      } else if (!is_all_zero(bytes)) {
        return differs(at, step);
      }
      progress_.advance(step);
    }
    if (record.hash && hash.finish() != *record.hash) {
      return differs(record.at, record.length);
    }
    return base::ok();
  }

  const BlockTarget& drive_;
  const std::vector<Record>& records_;
  const std::atomic<bool>* stop_;
  base::ProgressSink& progress_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  std::optional<Error> failure_;
};

class DriveWriter {
 public:
  DriveWriter(ImageStream& image, BlockTarget& drive, const WriteOptions& options,
              base::ProgressSink& progress)
      : image_(image), drive_(drive), options_(options), progress_(progress) {
    bounds_.drive_bytes = drive.size_bytes();
    bounds_.block_bytes = drive.block_bytes();
    bounds_.head_end = std::min(kDriveEndBytes, bounds_.drive_bytes);
    const std::uint64_t tail = bounds_.drive_bytes - bounds_.head_end;
    bounds_.tail_at = std::max(bounds_.head_end, tail / kBlockBytes * kBlockBytes);
  }

  Result<WrittenImage> run() {
    OU_CHECK(check_fits());
    OU_CHECK(clear_ends());
    OU_CHECK(write_body());
    progress_.phase("waiting for the drive", 0);
    OU_CHECK(drive_.sync());
    if (options_.verify) {
      drive_.drop_cache();
      progress_.phase("reading back", recorded_bytes());
      OU_CHECK(ReadBack(drive_, records_, options_.stop, progress_).run());
    }
    OU_CHECK(check_stop());
    OU_CHECK(write_ends());
    written_.verified = options_.verify;
    return written_;
  }

 private:
  [[nodiscard]] Status check_stop() const {
    return options_.stop != nullptr && *options_.stop ? Error(ErrorCode::kCancelled, "stopped")
                                                      : base::ok();
  }

  [[nodiscard]] Status check_fits() const {
    if (image_.size_bytes().value_or(0) > bounds_.drive_bytes) {
      return Error(ErrorCode::kDriveRefused,
                   "the drive is too small: the image has " + std::to_string(*image_.size_bytes()) +
                       " bytes, the drive " + std::to_string(bounds_.drive_bytes) +
                       "; take a larger one");
    }
    return base::ok();
  }

  /// No partition table and no second GPT header from before: from here on the drive is empty to
  /// everyone who looks.
  Status clear_ends() {
    const AlignedBuffer zeros(kDriveEndBytes + kBlockBytes);
    const auto clear = [&](std::uint64_t at, std::uint64_t end) {
      return drive_.write(at, zeros.span().first(end - at));
    };
    OU_CHECK(clear(0, bounds_.head_end));
    OU_CHECK(clear(bounds_.tail_at, bounds_.drive_bytes));
    return drive_.sync();
  }

  Status write_body() {
    const std::optional<std::uint64_t> size_bytes = image_.size_bytes();
    progress_.phase(size_bytes ? "writing" : "writing (counted in compressed bytes)",
                    size_bytes.value_or(image_.file_size_bytes()));
    ImagePieces pieces(image_, bounds_, options_.verify);
    std::uint64_t file_read_bytes = 0;
    for (;;) {
      OU_CHECK(check_stop());
      OU_TRY(const std::optional<Piece> piece, pieces.next());
      if (!piece) {
        return base::ok();
      }
      OU_CHECK(write_piece(*piece));
      pieces.give_back(*piece);
      written_.size_bytes += piece->image_bytes;
      progress_.advance(size_bytes ? piece->image_bytes : piece->file_read_bytes - file_read_bytes);
      file_read_bytes = piece->file_read_bytes;
    }
  }

  Status write_piece(const Piece& piece) {
    if (piece.at < bounds_.head_end || piece.at >= bounds_.tail_at) {
      hold(piece);
      return base::ok();
    }
    records_.push_back({piece.at, piece.length, piece.hash});
    if (piece.buffer == nullptr) {
      records_.back().hash.reset();
      return drive_.zero(piece.at, piece.length);
    }
    // Runs of granules that are all zero, and runs that are not.
    const std::size_t granules = (piece.length - 1) / kGranuleBytes + 1;
    const auto zero = [&piece](std::size_t granule) {
      return (piece.zero_granules >> granule & 1U) != 0;
    };
    for (std::size_t first = 0; first < granules;) {
      std::size_t end = first + 1;
      while (end < granules && zero(end) == zero(first)) {
        ++end;
      }
      const std::size_t from = first * kGranuleBytes;
      const std::size_t to = std::min(end * kGranuleBytes, piece.length);
      if (zero(first)) {
        OU_CHECK(drive_.zero(piece.at + from, to - from));
      } else {
        OU_CHECK(drive_.write(piece.at + from, piece.buffer->span().subspan(from, to - from)));
        written_.data_bytes += to - from;
      }
      first = end;
    }
    return base::ok();
  }

  /// What is all zero there was cleared already.
  void hold(const Piece& piece) {
    if (piece.buffer != nullptr) {
      const std::size_t length = piece.length;
      Held held{piece.at, piece.length, AlignedBuffer(base::in_blocks(length, kBlockBytes))};
      std::memcpy(held.bytes.span().data(), piece.buffer->span().data(), length);
      held_.push_back(std::move(held));
      written_.data_bytes += piece.length;
    }
  }

  [[nodiscard]] std::uint64_t recorded_bytes() const {
    std::uint64_t bytes = 0;
    for (const Record& record : records_) {
      bytes += record.length;
    }
    return bytes;
  }

  Status write_held(const Held& held, std::uint64_t from, std::uint64_t to) {
    if (from >= to) {
      return base::ok();
    }
    return drive_.write(held.at + from, held.bytes.span().subspan(from, to - from));
  }

  Status check_held(const Held& held, std::uint64_t from, std::uint64_t to) {
    if (!options_.verify || from >= to) {
      return base::ok();
    }
    const std::size_t length = to - from;
    const AlignedBuffer there(base::in_blocks(length, kBlockBytes));
    OU_CHECK(drive_.read(held.at + from, there.span().first(length)));
    if (std::memcmp(there.span().data(), held.bytes.span().data() + from, length) != 0) {
      return differs(held.at + from, length);
    }
    return base::ok();
  }

  /// The first block, which has the partition table or says that there is one, comes last of all.
  Status write_ends() {
    progress_.phase("writing the partition table", 0);
    const auto first_block = [](const Held& held) {
      return held.at == 0 ? std::min<std::uint64_t>(kBlockBytes, held.length) : 0;
    };
    for (const Held& held : held_) {
      OU_CHECK(write_held(held, first_block(held), held.length));
    }
    OU_CHECK(drive_.sync());
    for (const Held& held : held_) {
      OU_CHECK(check_held(held, first_block(held), held.length));
    }
    for (const Held& held : held_) {
      OU_CHECK(write_first_block(held, first_block(held)));
    }
    return base::ok();
  }

  Status write_first_block(const Held& held, std::uint64_t length) {
    Status written = write_held(held, 0, length);
    if (written) {
      written = drive_.sync();
    }
    if (written) {
      written = check_held(held, 0, length);
    }
    if (!written && length > 0) {
      const AlignedBuffer zeros(kBlockBytes);  // as far as such a drive still takes it
      static_cast<void>(drive_.write(0, zeros.span().first(length)));
      static_cast<void>(drive_.sync());
    }
    return written;
  }

  ImageStream& image_;
  BlockTarget& drive_;
  const WriteOptions& options_;
  base::ProgressSink& progress_;
  PieceBounds bounds_{};
  WrittenImage written_;
  std::vector<Record> records_;
  std::vector<Held> held_;
};

}  // namespace

Result<WrittenImage> write_image(ImageStream& image, BlockTarget& drive,
                                 const WriteOptions& options, base::ProgressSink& progress) {
  return DriveWriter(image, drive, options, progress).run();
}

}  // namespace image
