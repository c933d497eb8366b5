// What the targets share: bytes as a source, bytes as a disk in memory with guards around it, and
// an end to work without end.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/bytes.hpp"
#include "image/block_range.hpp"
#include "oci/byte_source.hpp"

namespace fuzz {

/// libFuzzer keeps the input that came before this.
inline void must(bool holds) {
  if (!holds) {
    std::abort();
  }
}

class BytesSource final : public oci::ByteSource {
 public:
  explicit BytesSource(base::ByteView bytes) : bytes_(bytes) {}
  base::Result<std::size_t> read(std::span<std::uint8_t> buffer) override {
    const std::size_t count = std::min(buffer.size(), bytes_.size());
    std::copy_n(bytes_.begin(), count, buffer.begin());
    bytes_ = bytes_.subspan(count);
    return count;
  }

 private:
  base::ByteView bytes_;
};

/// Reads at most `limit` bytes, in pieces.
inline void read_some(oci::ByteSource& source, std::size_t limit) {
  base::Bytes buffer(5000);
  for (std::size_t done = 0; done < limit;) {
    const auto got = source.read(buffer);
    if (!got || *got == 0) {
      return;
    }
    must(*got <= buffer.size());
    done += *got;
  }
}

/// A disk whose content is the input, in the middle of a file in memory.
class Disk {
 public:
  explicit Disk(base::ByteView bytes)
      : fd_(std::make_shared<const base::UniqueFd>(::memfd_create("disk", MFD_CLOEXEC))),
        size_(bytes.size()) {
    const base::Bytes guard(kGuard, kPattern);
    put(guard, 0);
    put(bytes, kGuard);
    put(guard, kGuard + size_);
  }

  [[nodiscard]] image::BlockRange range() const { return {fd_, kGuard, size_}; }

  /// Nothing around the range has been changed, and the file is as long as it was.
  [[nodiscard]] bool guards_intact() const {
    return get(0) == base::Bytes(kGuard, kPattern) &&
           get(kGuard + size_) == base::Bytes(kGuard, kPattern);
  }

 private:
  static constexpr std::size_t kGuard = 8192;
  static constexpr std::uint8_t kPattern = 0xa5;

  void put(base::ByteView bytes, std::size_t at) const {
    must(::pwrite(fd_->get(), bytes.data(), bytes.size(), static_cast<off_t>(at)) ==
         static_cast<ssize_t>(bytes.size()));
  }
  /// A guard, and whatever is behind it up to the end of the file, of which there must be nothing.
  [[nodiscard]] base::Bytes get(std::size_t at) const {
    base::Bytes bytes(at == 0 ? kGuard : kGuard + 1);
    const ssize_t got = ::pread(fd_->get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return bytes;
  }

  image::SharedFd fd_;
  std::size_t size_;
};

}  // namespace fuzz
