// Lines are kept until they are whole; of each only the two fields that decide are looked at.
#include "platform/pull_messages.hpp"

#include "base/json.hpp"
#include "base/printable.hpp"

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t kMaxWords = 1000;

std::string text_at(const base::Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

base::Status PullMessages::add(base::ByteView piece) {
  std::string_view text = base::as_text(piece);
  for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    partial_ += text.substr(0, end);
    text.remove_prefix(end + 1);
    OU_CHECK(add_line(partial_));
    partial_.clear();
  }
  partial_ += text;
  if (partial_.size() > kMaxLineBytes) {
    return Error(ErrorCode::kEnginePull,
                 "the engine sent a line of more than " + std::to_string(kMaxLineBytes) + " bytes");
  }
  return base::ok();
}

base::Status PullMessages::add_line(std::string_view line) {
  if (line.empty() || line == "\r") {
    return base::ok();
  }
  const auto parsed =
      base::parse_json(line, {.max_bytes = kMaxLineBytes, .max_string_bytes = kMaxLineBytes});
  if (!parsed || !parsed->is_object()) {
    return Error(ErrorCode::kEnginePull,
                 "the engine sent \"" + base::printable(line) + "\", which is no message");
  }
  const auto detail = parsed->find("errorDetail");
  std::string words =
      detail != parsed->end() && detail->is_object() ? text_at(*detail, "message") : std::string();
  if (words.empty()) {
    words = text_at(*parsed, "error");
  }
  if (!words.empty() || detail != parsed->end()) {
    error_ = words.empty() ? "unknown error" : words;
  }
  // The last message of a pull: "Status: Downloaded newer image for ..." or "... is up to date
  // ...".
  succeeded_ = text_at(*parsed, "status").starts_with("Status: ");
  return base::ok();
}

base::Status PullMessages::finish() {
  if (!partial_.empty()) {
    OU_CHECK(add_line(std::exchange(partial_, std::string())));
  }
  if (error_) {
    return Error(ErrorCode::kEnginePull,
                 "the engine reported: " + base::printable(*error_, kMaxWords));
  }
  if (!succeeded_) {
    return Error(ErrorCode::kEnginePull, "the engine ended the pull without reporting success");
  }
  return base::ok();
}

}  // namespace agent::platform
