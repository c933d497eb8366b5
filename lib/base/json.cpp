#include "base/json.hpp"

#include <cmath>

#include "base/printable.hpp"

namespace base {
namespace {

// Walks the text without building anything, so that a bomb costs no memory.
class LimitCheck final : public nlohmann::json_sax<Json> {
 public:
  explicit LimitCheck(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return count(); }
  bool boolean(bool /*value*/) override { return count(); }
  bool number_integer(number_integer_t /*value*/) override { return count(); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return count(); }
  bool number_float(number_float_t value, const string_t& source) override {
    // An integer that fits no 64 bits arrives here; as a double it would silently change.
    if (!std::isfinite(value) || source.find_first_of(".eE") == std::string::npos) {
      return fail(ErrorCode::kManifestSyntax, "a number is out of range");
    }
    return count();
  }
  bool string(string_t& value) override { return count() && fits(value); }
  bool binary(binary_t& /*value*/) override {
    return fail(ErrorCode::kManifestSyntax, "binary value");
  }
  bool start_object(std::size_t /*elements*/) override {
    keys_.emplace_back();
    return count() && deeper();
  }
  bool key(string_t& value) override {
    if (!keys_.back().insert(value).second) {
      return fail(ErrorCode::kManifestSyntax, "duplicate key \"" + printable(value) + "\"");
    }
    return fits(value);
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t /*elements*/) override { return count() && deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    return fail(ErrorCode::kManifestSyntax, "not valid JSON at byte " + std::to_string(position));
  }

  std::optional<Error> failure;

 private:
  bool fail(ErrorCode code, std::string what) {
    if (!failure) {
      failure = Error(code, std::move(what));
    }
    return false;
  }
  bool count() {
    return ++values_ <= limits_.max_values ||
           fail(ErrorCode::kLimitExceeded,
                "more than " + std::to_string(limits_.max_values) + " JSON values");
  }
  bool deeper() {
    return ++depth_ <= limits_.max_depth ||
           fail(ErrorCode::kLimitExceeded,
                "nested deeper than " + std::to_string(limits_.max_depth) + " levels");
  }
  bool fits(const std::string& text) {
    return text.size() <= limits_.max_string_bytes ||
           fail(ErrorCode::kLimitExceeded,
                "a string is longer than " + std::to_string(limits_.max_string_bytes) + " bytes");
  }

  const JsonLimits& limits_;
  std::size_t values_ = 0;
  std::size_t depth_ = 0;
  std::vector<std::set<std::string>> keys_;
};

const Json& empty_object() {
  static const Json kEmpty = Json::object();
  return kEmpty;
}
const Json& empty_array() {
  static const Json kEmpty = Json::array();
  return kEmpty;
}

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return Error(ErrorCode::kLimitExceeded, std::to_string(text.size()) +
                                                " bytes of JSON; at most " +
                                                std::to_string(limits.max_bytes) + " are allowed");
  }
  const std::size_t nul = text.find('\0');  // the parser takes it for the end of the text
  if (nul != std::string_view::npos) {
    return Error(ErrorCode::kManifestSyntax, "not valid JSON at byte " + std::to_string(nul + 1));
  }
  LimitCheck check(limits);
  if (!Json::sax_parse(text, &check)) {
    return check.failure.value_or(Error(ErrorCode::kManifestSyntax, "not valid JSON"));
  }
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

std::string to_canonical(const Json& value) {
  // nlohmann::json keeps object keys in a sorted map.
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

JsonObject::JsonObject(const Json& value, std::string where)
    : value_(value.is_object() ? value : empty_object()), where_(std::move(where)) {
  if (!value.is_object()) {
    failure_ = Error(ErrorCode::kManifestField, where_ + " must be an object");
  }
}

const Json* JsonObject::find(const std::string& key, bool required) {
  seen_.insert(key);
  const auto found = value_.find(key);
  if (found == value_.end()) {
    if (required) {
      fail(key, "is missing");
    }
    return nullptr;
  }
  return &*found;
}

void JsonObject::fail(const std::string& key, const std::string& what) {
  if (!failure_) {
    const std::string path = where_.empty() ? key : where_ + "." + key;
    failure_ = Error(ErrorCode::kManifestField, printable(path, 400) + " " + what);
  }
}

std::optional<std::string> JsonObject::optional_text(const std::string& key,
                                                     std::size_t max_bytes) {
  const Json* found = find(key, false);
  if (found == nullptr) {
    return std::nullopt;
  }
  if (!found->is_string()) {
    fail(key, "must be a string");
    return std::nullopt;
  }
  auto text = found->get<std::string>();
  if (text.size() > max_bytes) {
    fail(key, "is longer than " + std::to_string(max_bytes) + " bytes");
    return std::nullopt;
  }
  return text;
}

std::string JsonObject::text(const std::string& key, std::size_t max_bytes) {
  auto found = optional_text(key, max_bytes);
  if (!found) {
    fail(key, "is missing");
  }
  return found.value_or(std::string());
}

std::optional<std::uint64_t> JsonObject::optional_number(const std::string& key,
                                                         std::uint64_t max) {
  const Json* found = find(key, false);
  if (found == nullptr) {
    return std::nullopt;
  }
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() > max) {
    fail(key, "must be a whole number from 0 to " + std::to_string(max));
    return std::nullopt;
  }
  return found->get<std::uint64_t>();
}

std::uint64_t JsonObject::number(const std::string& key, std::uint64_t max) {
  const auto found = optional_number(key, max);
  if (!found) {
    fail(key, "is missing");
  }
  return found.value_or(0);
}

std::optional<bool> JsonObject::optional_boolean(const std::string& key) {
  const Json* found = find(key, false);
  if (found != nullptr && !found->is_boolean()) {
    fail(key, "must be true or false");
    return std::nullopt;
  }
  return found == nullptr ? std::nullopt : std::optional(found->get<bool>());
}

std::vector<std::string> JsonObject::texts(const std::string& key, std::size_t max_count,
                                           std::size_t max_bytes) {
  std::vector<std::string> out;
  const Json& list = array(key, false);
  if (list.size() > max_count) {
    fail(key, "has more than " + std::to_string(max_count) + " entries");
    return out;
  }
  for (const auto& entry : list) {
    if (!entry.is_string() || entry.get_ref<const std::string&>().size() > max_bytes) {
      fail(key, "must hold strings of at most " + std::to_string(max_bytes) + " bytes");
      return {};
    }
    out.push_back(entry.get<std::string>());
  }
  return out;
}

std::map<std::string, std::string> JsonObject::text_map(const std::string& key,
                                                        std::size_t max_count,
                                                        std::size_t max_bytes) {
  std::map<std::string, std::string> out;
  const Json& map = object(key, false);
  if (map.size() > max_count) {
    fail(key, "has more than " + std::to_string(max_count) + " entries");
    return out;
  }
  for (const auto& [name, value] : map.items()) {
    if (!value.is_string() || value.get_ref<const std::string&>().size() > max_bytes) {
      fail(key + "." + name, "must be a string of at most " + std::to_string(max_bytes) + " bytes");
      return {};
    }
    out.emplace(name, value.get<std::string>());
  }
  return out;
}

const Json& JsonObject::value(const std::string& key, bool required) {
  static const Json kNull;
  const Json* found = find(key, required);
  return found == nullptr ? kNull : *found;
}

const Json& JsonObject::object(const std::string& key, bool required) {
  const Json* found = find(key, required);
  if (found != nullptr && !found->is_object()) {
    fail(key, "must be an object");
    return empty_object();
  }
  return found == nullptr ? empty_object() : *found;
}

const Json& JsonObject::array(const std::string& key, bool required) {
  const Json* found = find(key, required);
  if (found != nullptr && !found->is_array()) {
    fail(key, "must be an array");
    return empty_array();
  }
  return found == nullptr ? empty_array() : *found;
}

Status JsonObject::finish() {
  for (const auto& [key, unused] : value_.items()) {
    if (!seen_.contains(key)) {
      fail(key, "is not known to this version");
    }
  }
  return finish_open();
}

Status JsonObject::finish_open() {
  if (failure_) {
    return *failure_;
  }
  return ok();
}

}  // namespace base
