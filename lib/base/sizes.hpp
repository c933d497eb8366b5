// Arithmetic with sizes on a disk.
#pragma once

#include <cstdint>

namespace base {

/// Room on a file system.
struct Room {
  std::uint64_t bytes = 0;
  std::uint64_t inodes = 0;
};

/// What `bytes` take in whole blocks. \pre block > 0
constexpr std::uint64_t in_blocks(std::uint64_t bytes, std::uint64_t block) {
  return (bytes / block + (bytes % block == 0 ? 0 : 1)) * block;
}

}  // namespace base
