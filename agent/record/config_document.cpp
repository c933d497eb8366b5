#include "record/config_document.hpp"

#include <algorithm>

#include "base/json.hpp"

namespace agent::record {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;

constexpr std::string_view kWhiteSpace = " \t\r\n";

// All of these are given valid JSON, so that they look for nothing but ends.

std::size_t skip_space(std::string_view text, std::size_t at) {
  return std::min(text.find_first_not_of(kWhiteSpace, at), text.size());
}

/// \return the position behind the string that begins at `at`
std::size_t end_of_string(std::string_view text, std::size_t at) {
  for (++at; text[at] != '"'; ++at) {
    at += text[at] == '\\' ? 1U : 0U;
  }
  return at + 1;
}

std::size_t end_of_value(std::string_view text, std::size_t at) {
  if (text[at] == '"') {
    return end_of_string(text, at);
  }
  if (text[at] != '{' && text[at] != '[') {
    return std::min(text.find_first_of(",]} \t\r\n", at), text.size());
  }
  std::size_t depth = 0;
  do {
    if (text[at] == '"') {
      at = end_of_string(text, at);
      continue;
    }
    depth += text[at] == '{' || text[at] == '[' ? 1U : 0U;
    depth -= text[at] == '}' || text[at] == ']' ? 1U : 0U;
    ++at;
  } while (depth > 0);
  return at;
}

}  // namespace

base::Result<ConfigDocument> ConfigDocument::parse(std::string_view text) {
  const auto json = base::parse_json(text, {.max_bytes = kMaxConfigJsonBytes});
  if (!json) {
    return Error(json.error()).as(ErrorCode::kConfigJson);
  }
  if (!json->is_object()) {
    return Error(ErrorCode::kConfigJson, "config.json is no JSON object");
  }
  return ConfigDocument(std::string(text));
}

void ConfigDocument::scan() {
  members_.clear();
  const std::string_view text = text_;
  std::size_t at = skip_space(text, text.find('{') + 1);
  while (text[at] == '"') {
    Member member{.begin = at};
    const auto key_end = end_of_string(text, at);
    member.key = Json::parse(text.substr(at, key_end - at), nullptr, false).get<std::string>();
    member.value_begin = skip_space(text, text.find(':', key_end) + 1);
    member.value_end = end_of_value(text, member.value_begin);
    at = skip_space(text, member.value_end);
    at = text[at] == ',' ? skip_space(text, at + 1) : at;
    members_.push_back(std::move(member));
  }
}

std::optional<std::size_t> ConfigDocument::index_of(std::string_view key) const {
  const auto found = std::ranges::find(members_, key, &Member::key);
  return found == members_.end()
             ? std::nullopt
             : std::optional(static_cast<std::size_t>(found - members_.begin()));
}

std::vector<std::string> ConfigDocument::keys() const {
  std::vector<std::string> keys;
  for (const auto& member : members_) {
    keys.push_back(member.key);
  }
  return keys;
}

std::optional<std::string> ConfigDocument::value(std::string_view key) const {
  const auto index = index_of(key);
  if (!index) {
    return std::nullopt;
  }
  const auto& member = members_[*index];
  auto json = text_.substr(member.value_begin, member.value_end - member.value_begin);
  return json == "null" ? std::nullopt : std::optional(std::move(json));
}

void ConfigDocument::set(std::string_view key, std::string_view json) {
  if (const auto index = index_of(key)) {
    const auto& member = members_[*index];
    text_.replace(member.value_begin, member.value_end - member.value_begin, json);
  } else {
    auto added = Json(std::string(key)).dump();
    std::size_t place = text_.find('{') + 1;
    if (members_.empty()) {
      added += ":" + std::string(json);
    } else {
      // As the member before it is set off from what stands before that one, and from its value.
      const auto& last = members_.back();
      const auto before = text_.find_last_not_of(kWhiteSpace, last.begin - 1) + 1;
      const auto key_end = end_of_string(text_, last.begin);
      added = "," + text_.substr(before, last.begin - before) + added +
              text_.substr(key_end, last.value_begin - key_end) + std::string(json);
      place = last.value_end;
    }
    text_.insert(place, added);
  }
  scan();
}

void ConfigDocument::erase(std::string_view key) {
  const auto index = index_of(key);
  if (!index) {
    return;
  }
  const bool first = *index == 0;
  const bool only = members_.size() == 1;
  // With the comma before it, or behind it if it is the first of several.
  const auto begin = first ? members_.front().begin : members_[*index - 1].value_end;
  const auto end = first && !only ? members_[1].begin : members_[*index].value_end;
  text_.erase(begin, end - begin);
  scan();
}

}  // namespace agent::record
