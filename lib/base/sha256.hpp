// SHA-256, all at once or piece by piece.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.hpp"

namespace base {

/// 32 bytes.
using Sha256Hash = std::array<std::uint8_t, 32>;

Sha256Hash sha256(ByteView bytes);

/// SHA-256 of bytes that arrive in pieces.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void update(ByteView bytes);
  /// The hash of everything given so far; the object starts again from nothing.
  Sha256Hash finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace base
