// The text of config.json, changed member by member: what is not changed keeps every byte, its
// order, number formats and white space included.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace agent::record {

inline constexpr std::size_t kMaxConfigJsonBytes = std::size_t{1024} * 1024;

class ConfigDocument {
 public:
  /// \error ErrorCode::kConfigJson when `text` is not one JSON object with unique keys, at most
  ///   kMaxConfigJsonBytes long
  static base::Result<ConfigDocument> parse(std::string_view text);

  /// The keys of the object, in their order.
  [[nodiscard]] std::vector<std::string> keys() const;
  /// The JSON text of a member's value; nothing when there is no such member or it is null.
  [[nodiscard]] std::optional<std::string> value(std::string_view key) const;

  /// Gives a member a value, in its place; a new one comes last. \pre `json` is valid JSON
  void set(std::string_view key, std::string_view json);
  void erase(std::string_view key);

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  struct Member {
    std::string key;
    std::size_t begin;  // of the key's quotation mark
    std::size_t value_begin;
    std::size_t value_end;
  };

  explicit ConfigDocument(std::string text) : text_(std::move(text)) { scan(); }
  void scan();
  [[nodiscard]] std::optional<std::size_t> index_of(std::string_view key) const;

  std::string text_;  // valid JSON, an object
  std::vector<Member> members_;
};

}  // namespace agent::record
