// JSON from outside, read within limits; objects read field by field with errors that name the
// field.
// This header is heavy: include it in source files, never in headers.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace base {

using Json = nlohmann::json;

struct JsonLimits {
  std::size_t max_bytes;
  std::size_t max_depth = 32;
  std::size_t max_values = 200'000;       // every scalar, object and array counts
  std::size_t max_string_bytes = 65'536;  // keys too
};

/// Parses UTF-8 JSON. The limits are enforced before any tree is built; duplicate keys, NaN,
/// numbers that fit neither 64-bit integers nor finite doubles, and text after the value are
/// errors.
/// \error ErrorCode::kLimitExceeded for a limit; ErrorCode::kManifestSyntax for everything else
Result<Json> parse_json(std::string_view text, const JsonLimits& limits);

/// `value` with keys sorted and no white space: the same value gives the same bytes.
std::string to_canonical(const Json& value);

/// Reads the fields of one object. Every field must be asked for by name, and finish() fails if one
/// was not: what is not understood is an error. The first failure is kept; later reads return
/// defaults, so that a reader is one straight list of fields followed by finish().
class JsonObject {
 public:
  /// \param where the path of this object, such as "release.services.main"; used in errors
  JsonObject(const Json& value, std::string where);

  std::string text(const std::string& key, std::size_t max_bytes = 255);
  std::optional<std::string> optional_text(const std::string& key, std::size_t max_bytes = 255);
  std::uint64_t number(const std::string& key, std::uint64_t max = INT64_MAX);
  std::optional<std::uint64_t> optional_number(const std::string& key,
                                               std::uint64_t max = INT64_MAX);
  std::optional<bool> optional_boolean(const std::string& key);
  std::vector<std::string> texts(const std::string& key, std::size_t max_count,
                                 std::size_t max_bytes = 255);
  /// An object whose values are all strings; absent: empty.
  std::map<std::string, std::string> text_map(const std::string& key, std::size_t max_count,
                                              std::size_t max_bytes = 65'536);
  /// The raw value; null (and a failure if `required`) when absent.
  const Json& value(const std::string& key, bool required = true);
  /// A nested object or array, checked to be one; empty when absent and not required.
  const Json& object(const std::string& key, bool required = true);
  const Json& array(const std::string& key, bool required = true);

  [[nodiscard]] const std::string& where() const { return where_; }
  /// Records a failure of the field `key`, unless there is one already.
  void fail(const std::string& key, const std::string& what);

  /// \error ErrorCode::kManifestField: the first field that was missing, of the wrong type, out of
  ///   range, or never asked for
  Status finish();
  /// As finish(), but fields never asked for are allowed: for formats that others extend.
  Status finish_open();

 private:
  const Json* find(const std::string& key, bool required);
  const Json& value_;
  std::string where_;
  std::set<std::string> seen_;
  std::optional<Error> failure_;
};

}  // namespace base
