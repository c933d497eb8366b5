// Owns what a C library hands out: Handle<sqlite3, sqlite3_close>.
#pragma once

#include <memory>

namespace base {

template <auto Release>
struct Releaser {
  template <typename T>
  void operator()(T* handle) const {
    static_cast<void>(Release(handle));
  }
};

template <typename T, auto Release>
using Handle = std::unique_ptr<T, Releaser<Release>>;

}  // namespace base
