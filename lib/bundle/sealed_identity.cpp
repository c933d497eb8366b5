#include "bundle/sealed_identity.hpp"

#include <sodium.h>

#include <algorithm>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/minisign_file.hpp"

namespace bundle {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;

constexpr std::string_view kHeader = "offline-updater identity export 1, for key ";
constexpr std::size_t kIdDigits = 16;
constexpr std::size_t kHeaderBytes = kHeader.size() + kIdDigits + 1;
constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kMaxTime = 253'402'300'799;  // the end of the year 9999
constexpr std::size_t kMaxFiles = 1024;
constexpr std::size_t kMaxPathBytes = 512;

Error no_export(const char* what) {
  return {ErrorCode::kFileAltered, what};
}

/// Whoever opens an export may write its files: they stay below one directory.
bool is_plain_path(std::string_view path) {
  if (path.empty() || path.size() > kMaxPathBytes || base::printable(path, kMaxPathBytes) != path) {
    return false;
  }
  while (true) {
    const auto slash = path.find('/');
    const auto part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
}

std::string to_text(const IdentityExport& identity) {
  auto files = Json::object();
  for (const auto& [path, content] : identity.files) {
    files[path] = base::to_base64(base::as_bytes(content));
  }
  return base::to_canonical({{"version", kVersion},
                             {"created_at", identity.created_at},
                             {"machine_id", identity.machine_id},
                             {"files", std::move(files)}});
}

Result<IdentityExport> parse(std::string_view text) {
  base::JsonLimits limits{.max_bytes = kMaxIdentityExportBytes};
  limits.max_string_bytes = kMaxIdentityExportBytes;
  OU_TRY(const auto json, base::parse_json(text, limits));
  base::JsonObject object(json, "export");
  if (object.number("version") != kVersion) {
    object.fail("version", "is not known to this version");
  }
  IdentityExport identity{.created_at = object.number("created_at", kMaxTime),
                          .machine_id = object.text("machine_id")};
  const auto files = object.text_map("files", kMaxFiles, kMaxIdentityExportBytes);
  OU_CHECK(object.finish());
  for (const auto& [path, base64] : files) {
    const auto content = base::from_base64(base64);
    if (!is_plain_path(path) || !content) {
      return no_export("has a file whose name or content is not as it has to be");
    }
    identity.files.emplace(path, base::as_text(*content));
  }
  if (!identity.files.contains("config.json")) {
    return no_export("has no config.json");
  }
  return identity;
}

}  // namespace

Result<base::Bytes> seal_identity(const IdentityExport& identity, const BoxPublicKey& key) {
  if (!minisign::crypto_ready()) {
    return Error(ErrorCode::kInternal, "libsodium cannot be used");
  }
  auto text = to_text(identity);
  if (text.size() > kMaxIdentityExportBytes - kHeaderBytes - crypto_box_SEALBYTES) {
    return Error(ErrorCode::kLimitExceeded, "the boot settings are too large for an export");
  }
  const auto header = std::string(kHeader) + key.id() + "\n";
  base::Bytes out(header.size() + crypto_box_SEALBYTES + text.size());
  std::ranges::copy(header, out.begin());
  const auto plain = base::as_bytes(text);
  const int failed =
      crypto_box_seal(out.data() + header.size(), plain.data(), plain.size(), key.key.data());
  sodium_memzero(text.data(), text.size());
  if (failed != 0) {
    return Error(ErrorCode::kKeyInvalid, "nothing can be sealed for this public key");
  }
  return out;
}

Result<IdentityExport> BoxSecretKey::open(base::ByteView file) const {
  const auto text = base::as_text(file);
  if (file.size() > kMaxIdentityExportBytes || !text.starts_with(kHeader) ||
      file.size() < kHeaderBytes + crypto_box_SEALBYTES || text[kHeaderBytes - 1] != '\n') {
    return no_export("not an export of `offline-updater-agent identity export`");
  }
  const auto own = public_key();
  const auto sealed_for = text.substr(kHeader.size(), kIdDigits);
  if (sealed_for != own.id()) {
    return Error(ErrorCode::kKeyInvalid, "sealed for key " + base::printable(sealed_for) +
                                             "; the key given is " + own.id());
  }
  const auto box = file.subspan(kHeaderBytes);
  base::Bytes opened(box.size() - crypto_box_SEALBYTES);
  if (crypto_box_seal_open(opened.data(), box.data(), box.size(), own.key.data(), key_.data()) !=
      0) {
    return no_export("the export is damaged");
  }
  auto identity = parse(base::as_text(opened));
  sodium_memzero(opened.data(), opened.size());
  if (!identity) {
    return std::move(identity).error().as(ErrorCode::kFileAltered);
  }
  return identity;
}

}  // namespace bundle
