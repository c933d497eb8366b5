#include "ssh_keys.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/files.hpp"
#include "base/lines.hpp"
#include "base/printable.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::size_t kMaxFileBytes = std::size_t{64} * 1024;
constexpr std::size_t kLengthBytes = 4;
constexpr std::array<std::string_view, 8> kTypes{"ssh-ed25519",
                                                 "ssh-rsa",
                                                 "ecdsa-sha2-nistp256",
                                                 "ecdsa-sha2-nistp384",
                                                 "ecdsa-sha2-nistp521",
                                                 "sk-ssh-ed25519@openssh.com",
                                                 "ssh-dss",
                                                 "sk-ecdsa-sha2-nistp256@openssh.com"};

std::string_view take_word(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  line.remove_prefix(word.size());
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  return word;
}

/// The encoded part of a key starts with its type again, behind the type's length.
/// \source RFC 4253 section 6.6
bool encodes(std::string_view base64, std::string_view type) {
  const auto bytes = base::from_base64(base64);
  if (!bytes || bytes->size() <= kLengthBytes + type.size()) {
    return false;
  }
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length = length << 8U | (*bytes)[i];
  }
  return length == type.size() &&
         base::as_text(base::ByteView(*bytes).subspan(kLengthBytes, length)) == type;
}

bool is_public_key(std::string_view line) {
  const std::string_view type = take_word(line);
  const std::string_view encoded = take_word(line);
  return std::find(kTypes.begin(), kTypes.end(), type) != kTypes.end() && encodes(encoded, type) &&
         base::printable(line, kMaxFileBytes) == line;
}

std::string_view trim(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  line.remove_suffix(line.size() - (line.find_last_not_of(" \t\r") + 1));
  return line;
}

}  // namespace

Result<std::vector<std::string>> read_ssh_keys(const std::filesystem::path& path) {
  OU_TRY(const base::Bytes bytes, base::read_file(path, kMaxFileBytes));
  std::string_view text = base::as_text(bytes);
  const std::string shown = base::printable(path.string());
  if (text.find("PRIVATE KEY-----") != std::string_view::npos) {
    return Error(ErrorCode::kUsage,
                 shown + " is a secret key, which belongs to you alone: name the .pub file");
  }
  std::vector<std::string> keys;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = trim(base::take_line(text));
    if (line.empty() || line.front() == '#') {
      continue;
    }
    if (!is_public_key(line)) {
      return Error(ErrorCode::kUsage, shown + " line " + std::to_string(number) +
                                          " is no public SSH key (TYPE BASE64 [COMMENT], as "
                                          "ssh-keygen writes it)");
    }
    keys.emplace_back(line);
  }
  if (keys.empty()) {
    return Error(ErrorCode::kUsage, shown + " has no public SSH key in it");
  }
  return keys;
}

}  // namespace tool
