// Walks through a tar archive, entry by entry, without ever turning a name into a path. Private to
// this library. Formats and robustness are libarchive's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "oci/byte_source.hpp"

namespace oci {

/// A source that can leave bytes out cheaply.
class SkippableSource : public ByteSource {
 public:
  /// Moves on by at most `count` bytes. \return how far; 0 when it has to be read instead
  virtual std::uint64_t skip(std::uint64_t count) = 0;
};

struct TarEntry {
  enum class Kind { kFile, kDirectory, kSymlink, kHardlink, kOther };
  std::string name;  // as the archive has it: hostile
  Kind kind;
  std::uint64_t size_bytes;  // of a file's data
  std::string link_target;   // of a symlink or hard link: hostile
};

class TarReader {
 public:
  explicit TarReader(std::unique_ptr<ByteSource> source);
  explicit TarReader(std::unique_ptr<SkippableSource> source);
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;
  ~TarReader();

  /// The next entry; nothing at the end. Data of the present one that was not read is skipped.
  /// \error ErrorCode::kImageInvalid when this is no tar or it is cut; what the source reports
  base::Result<std::optional<TarEntry>> next();

  /// Data of the present entry; 0 at its end. \error as next()
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace oci
