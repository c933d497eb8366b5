// Result<T>: a value or an Error. The compiler warns when one is ignored.
#pragma once

#include <tl/expected.hpp>
#include <utility>

#include "base/error.hpp"

namespace base {

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  // NOLINTNEXTLINE(google-explicit-constructor): `return error;` is how every function fails.
  Result(Error error) : tl::expected<T, Error>(tl::unexpected<Error>(std::move(error))) {}

  /// The same result; a failure says that it happened while `doing`.
  [[nodiscard]] Result within(std::string doing) && {
    if (this->has_value()) {
      return std::move(*this);
    }
    return std::move(this->error()).within(std::move(doing));
  }
};

/// A Result without a value: done, or an Error.
using Status = Result<void>;

/// The success of a Status.
inline Status ok() {
  return Status{};
}

}  // namespace base

#define OU_CONCAT_INNER(a, b) a##b
#define OU_CONCAT(a, b) OU_CONCAT_INNER(a, b)
#define OU_TRY_INNER(result, declaration, expression) \
  auto result = (expression);                         \
  if (!result) {                                      \
    return std::move(result).error();                 \
  }                                                   \
  declaration = *std::move(result)

/// Declares or assigns from a Result, or returns its error from the enclosing function:
/// `OU_TRY(const auto size, file_size(fd));`
#define OU_TRY(declaration, ...) \
  OU_TRY_INNER(OU_CONCAT(ou_result_, __LINE__), declaration, (__VA_ARGS__))

/// Returns the error of a Status from the enclosing function: `OU_CHECK(sync(fd));`
#define OU_CHECK(...)                                 \
  do {                                                \
    if (auto ou_status = (__VA_ARGS__); !ou_status) { \
      return std::move(ou_status).error();            \
    }                                                 \
  } while (false)
