// yaml-cpp reports by exceptions and keeps aliases as shared nodes. Both end here: exceptions
// become errors, and aliases are expanded into JSON while every value made is counted.
#include "yaml_json.hpp"

#include <yaml-cpp/yaml.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/json.hpp"
#include "base/printable.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;

// Fields of a service, or of something in it, whose values are text for an engine.
constexpr std::array<std::string_view, 23> kTextKeys = {
    "environment", "labels",      "driver_opts", "sysctls",    "command",           "entrypoint",
    "test",        "ports",       "expose",      "user",       "group_add",         "hostname",
    "interval",    "timeout",     "tmpfs",       "devices",    "stop_grace_period", "start_period",
    "cpuset",      "stop_signal", "working_dir", "domainname", "mac_address"};

/// \param depth of the map that `key` is in: 1 is where services, volumes and networks have their
///   names, which mean nothing
bool is_text_key(std::string_view key, std::size_t depth) {
  return depth >= 2 && std::find(kTextKeys.begin(), kTextKeys.end(), key) != kTextKeys.end();
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::optional<Json> integer(std::string_view text) {
  int radix = 10;
  std::string_view digits = text;
  if (text.starts_with("0x") || text.starts_with("0o")) {
    radix = text[1] == 'x' ? 16 : 8;
    digits = text.substr(2);
  } else if (text.starts_with('+')) {
    digits = text.substr(1);
  }
  if (digits.empty() || (radix != 10 && digits[0] == '-') ||
      (digits.size() < text.size() && digits[0] == '-')) {
    return std::nullopt;
  }
  std::int64_t value = 0;
  const auto [end, failure] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, radix);
  if (failure != std::errc() || end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  return Json(value);
}

std::optional<Json> real(std::string_view text) {
  const std::size_t point = text.find_first_of(".eE");
  const std::string_view whole = text.substr(0, point);
  const bool starts_like_a_number =
      all_digits(whole) || (whole.size() > 1 && whole[0] == '-' && all_digits(whole.substr(1))) ||
      (whole.empty() && text.size() > 1 && all_digits(text.substr(1, 1)));
  if (point == std::string_view::npos || !starts_like_a_number) {
    return std::nullopt;
  }
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return Json(value);
}

class Converter {
 public:
  Result<Json> convert(const YAML::Node& node, const std::string& path, bool text,
                       std::size_t depth) {
    if (++values_ > kMaxYamlValues) {
      return Error(ErrorCode::kLimitExceeded, "more than " + std::to_string(kMaxYamlValues) +
                                                  " values once its aliases are expanded");
    }
    if (depth > kMaxYamlDepth) {
      return Error(ErrorCode::kLimitExceeded,
                   "nested deeper than " + std::to_string(kMaxYamlDepth) + " levels");
    }
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null:
        return Json(nullptr);
      case YAML::NodeType::Scalar:
        return scalar(node, path, text);
      case YAML::NodeType::Sequence:
        return sequence(node, path, text, depth);
      case YAML::NodeType::Map:
        return map(node, path, text, depth);
    }
    return Error(ErrorCode::kInternal, "a YAML node of no known kind");
  }

 private:
  static Error invalid(const YAML::Node& node, const std::string& path, const std::string& what) {
    return {ErrorCode::kComposeInvalid, "line " + std::to_string(node.Mark().line + 1) + ": " +
                                            base::printable(path, 300) + " " + what};
  }

  /// `$$` is the only use of `$`: with variables the same file would give different bundles,
  /// depending on who builds them.
  static Result<std::string> without_variables(const YAML::Node& node, const std::string& path) {
    const std::string& raw = node.Scalar();
    std::string result;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '$') {
        if (i + 1 >= raw.size() || raw[i + 1] != '$') {
          return invalid(
              node, path,
              "uses a variable (\"" + base::printable(raw, 60) +
                  "\"); variables are not filled in, since the same file has to give the "
                  "same bundle everywhere: write the value itself, or $$ for a plain $");
        }
        ++i;
      }
      result += raw[i];
    }
    return result;
  }

  static Result<Json> scalar(const YAML::Node& node, const std::string& path, bool text) {
    OU_TRY(std::string value, without_variables(node, path));
    const std::string& tag = node.Tag();
    if (tag == "!" || tag == "tag:yaml.org,2002:str") {
      return Json(std::move(value));
    }
    if (!tag.empty() && !tag.starts_with('?') && !tag.starts_with("tag:yaml.org,2002:")) {
      return invalid(node, path,
                     "has the tag " + base::printable(tag, 60) + ", which is not supported");
    }
    if (is_one_of(value, {"", "~", "null", "Null", "NULL"})) {
      return Json(nullptr);
    }
    if (text) {
      return Json(std::move(value));
    }
    if (is_one_of(value, {"true", "True", "TRUE"})) {
      return Json(true);
    }
    if (is_one_of(value, {"false", "False", "FALSE"})) {
      return Json(false);
    }
    if (auto number = integer(value)) {
      return *std::move(number);
    }
    if (auto number = real(value)) {
      return *std::move(number);
    }
    return Json(std::move(value));
  }

  Result<Json> sequence(const YAML::Node& node, const std::string& path, bool text,
                        std::size_t depth) {
    Json array = Json::array();
    for (std::size_t i = 0; i < node.size(); ++i) {
      OU_TRY(Json element, convert(node[i], path + "[" + std::to_string(i) + "]", text, depth + 1));
      array.push_back(std::move(element));
    }
    return array;
  }

  Result<Json> map(const YAML::Node& node, const std::string& path, bool text, std::size_t depth) {
    Json object = Json::object();
    Json merged = Json::object();
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) {
        return invalid(entry.first, path, "has a key that is not a plain word");
      }
      const std::string& key = entry.first.Scalar();
      const std::string below = path.empty() ? key : path + "." + key;
      if (key == "<<" && entry.first.Tag() != "!") {
        OU_CHECK(merge(entry.second, below, text, depth, merged));
        continue;
      }
      if (object.contains(key)) {
        return invalid(entry.first, below, "is there twice");
      }
      OU_TRY(object[key], convert(entry.second, below, text || is_text_key(key, depth), depth + 1));
    }
    for (auto& [key, value] : merged.items()) {
      if (!object.contains(key)) {
        object[key] = std::move(value);
      }
    }
    return object;
  }

  /// The first of several merged maps that has a key wins; keys of the map itself win over all.
  base::Status merge(const YAML::Node& value, const std::string& path, bool text, std::size_t depth,
                     Json& merged) {
    const bool several = value.IsSequence();
    const std::size_t count = several ? value.size() : 1;
    for (std::size_t i = 0; i < count; ++i) {
      const YAML::Node one = several ? value[i] : value;
      if (!one.IsMap()) {
        return invalid(value, path, "must be a map or a list of maps");
      }
      OU_TRY(Json fields, convert(one, path, text, depth + 1));
      for (auto& [key, field] : fields.items()) {
        if (!merged.contains(key)) {
          merged[key] = std::move(field);
        }
      }
    }
    return base::ok();
  }

  std::size_t values_ = 0;
};

}  // namespace

Result<Json> parse_yaml(std::string_view text) {
  if (text.size() > kMaxYamlBytes) {
    return Error(ErrorCode::kLimitExceeded,
                 "larger than " + std::to_string(kMaxYamlBytes) + " bytes");
  }
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() != 1) {
      return Error(ErrorCode::kComposeInvalid,
                   "must hold exactly one YAML document, not " + std::to_string(documents.size()));
    }
    return Converter().convert(documents.front(), "", false, 0);
  } catch (const YAML::Exception& exception) {
    return Error(ErrorCode::kComposeInvalid, "line " + std::to_string(exception.mark.line + 1) +
                                                 ": " + base::printable(exception.msg));
  }
}

}  // namespace tool
