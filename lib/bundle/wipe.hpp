// Secrets in memory. Private to this library.
#pragma once

#include <sodium.h>

namespace bundle {

/// Overwrites a container's bytes when the scope ends.
template <typename Container>
class Wipe {
 public:
  explicit Wipe(Container& memory) : memory_(memory) {}
  Wipe(const Wipe&) = delete;
  Wipe& operator=(const Wipe&) = delete;
  ~Wipe() { sodium_memzero(memory_.data(), memory_.size()); }

 private:
  Container& memory_;
};

}  // namespace bundle
