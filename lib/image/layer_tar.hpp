// A layer's tar archive from front to end, entry by entry, in the way in which an engine extracts
// it; and at the same time its bytes split into what is content of files and what is not, for the
// record from which an engine puts the archive together again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/crc64.hpp"
#include "image/tar_header.hpp"
#include "oci/byte_source.hpp"

namespace image {

/// A part of a file that has content; all between is zero.
struct Stretch {
  std::uint64_t at;
  std::uint64_t size_bytes;
};

inline constexpr std::size_t kMaxStretches = 65'536;

struct LayerEntry {
  enum class Kind { kFile, kDirectory, kSymlink, kHardlink, kCharDevice, kBlockDevice, kFifo };
  std::string name;  // as the archive has it: hostile
  Kind kind = Kind::kFile;
  std::uint32_t permissions = 0;  // with set-id and sticky bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;  // of the file once it is extracted
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanoseconds = 0;
  std::string link_target;  // of a symlink or hard link: hostile
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::map<std::string, std::string> xattrs;
  std::vector<Stretch> stretches;  // of a file, by offset; a usual one has one, an empty one none
};

/// Is told of every byte of the archive, in order.
class ArchiveRecord {
 public:
  ArchiveRecord() = default;
  ArchiveRecord(const ArchiveRecord&) = delete;
  ArchiveRecord& operator=(const ArchiveRecord&) = delete;
  virtual ~ArchiveRecord() = default;

  /// Headers, padding, and content that is not that of a file as it is extracted.
  virtual base::Status raw(base::ByteView bytes) = 0;
  /// Here is the content of a file, `size_bytes` long (0 for everything that is no file).
  virtual base::Status file(const std::string& name, std::uint64_t size_bytes,
                            const std::array<std::uint8_t, 8>& crc64) = 0;
};

class LayerTar {
 public:
  /// Both outlive this.
  LayerTar(oci::ByteSource& source, ArchiveRecord& record);

  /// The next entry; nothing at the end, when everything behind the end was recorded too. Content
  /// of the present one that was not read is skipped.
  /// \error ErrorCode::kImageInvalid: no tar archive, or an entry that no engine extracts;
  ///   kLimitExceeded; what the source reports
  base::Result<std::optional<LayerEntry>> next();

  /// Content of the present file: the bytes of its stretches, one after the other; 0 at the end.
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer);

 private:
  struct Pending;  // what headers before the main one have said

  base::Result<bool> read_block(std::span<std::uint8_t> block);
  base::Result<bool> read_header_block();
  base::Result<std::string> read_extra(std::uint64_t size_bytes);
  base::Status read_exactly(std::span<std::uint8_t> buffer);
  base::Result<std::size_t> read_source(std::span<std::uint8_t> buffer);
  base::Status take_extra(const TarHeader& header, Pending& pending);
  base::Result<LayerEntry> to_entry(const TarHeader& header, const Pending& pending);
  base::Status start_content(LayerEntry& entry, const Pending& pending, std::uint64_t stored_bytes);
  base::Result<std::vector<std::uint64_t>> read_sparse_map();
  base::Status end_content();
  base::Status record_rest();

  oci::ByteSource& source_;
  ArchiveRecord& record_;
  base::Bytes input_;
  base::ByteView ahead_;
  base::Bytes block_;
  std::string file_name_;  // of the present entry, for the record
  bool in_entry_ = false;  // its end has not been recorded
  bool sparse_ = false;    // its content goes to the record as it is stored
  std::uint64_t content_left_ = 0;
  std::uint64_t file_bytes_ = 0;
  std::size_t padding_ = 0;
  Crc64 crc_;
};

}  // namespace image
