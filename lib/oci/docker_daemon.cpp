// An image of a local engine, saved through its socket and then read like any other archive.
#include <algorithm>
#include <cctype>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "oci/engine_http.hpp"
#include "oci/stored_image.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::chrono::seconds kInspectTimeout{60};
// An engine reads all layers and may be busy, but it does not stay silent for ever.
constexpr std::chrono::minutes kIdleTimeout{5};
constexpr std::size_t kMaxErrorBytes = 4096;
constexpr int kHttpNotFound = 404;
constexpr int kHttpOk = 200;

// Everything a reference may contain goes into a URL path as it is; anything else is refused, so
// that a name cannot become another request.
base::Status check_reference(const std::string& reference) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("._-/:@").find(c) != std::string_view::npos;
  };
  if (reference.empty() || reference.size() > 512 ||
      !std::all_of(reference.begin(), reference.end(), allowed) ||
      reference.find("..") != std::string::npos) {
    return Error(ErrorCode::kSourceUnsupported,
                 "\"" + base::printable(reference) + "\" is no image reference");
  }
  return base::ok();
}

// Engines report errors as {"message": "..."}.
std::string message_of(std::string_view body) {
  const auto parsed = base::parse_json(body, {.max_bytes = kMaxErrorBytes});
  if (parsed && parsed->is_object()) {
    const auto message = parsed->find("message");
    if (message != parsed->end() && message->is_string()) {
      return base::printable(message->get_ref<const std::string&>());
    }
  }
  return base::printable(body);
}

base::Status check_status(int status, const std::string& reference, std::string_view body) {
  if (status == kHttpNotFound) {
    return Error(ErrorCode::kNotFound, "the engine has no image \"" + reference +
                                           "\"; \"docker images\" lists what it has");
  }
  if (status != kHttpOk) {
    return Error(ErrorCode::kEngine,
                 "the engine answered " + std::to_string(status) + ": " + message_of(body));
  }
  return base::ok();
}

}  // namespace

base::Result<std::unique_ptr<ImageSource>> open_docker_daemon(
    const std::string& reference, const std::filesystem::path& scratch) {
  OU_CHECK(check_reference(reference));
  OU_TRY(std::string socket, EngineHttp::default_socket());
  const EngineHttp engine(std::move(socket));
  OU_TRY(const EngineReply reply,
         engine.call("GET", "/images/" + reference + "/json", "", kInspectTimeout));
  OU_CHECK(check_status(reply.status, reference, reply.body));
  OU_TRY(const base::Json facts,
         base::parse_json(reply.body, {.max_bytes = kMaxEngineReplyBytes}).within("inspect image"));
  base::JsonObject object(facts, "image");
  // By ID the archive has exactly this image, whatever the name points to by then.
  const std::string id = object.text("Id");
  OU_CHECK(object.finish_open());
  OU_CHECK(check_reference(id));
  OU_TRY(Spool spool, Spool::create(scratch));
  std::string error_body;
  const auto on_data = [&](base::ByteView bytes) {
    if (error_body.size() < kMaxErrorBytes) {
      error_body += base::as_text(bytes.first(std::min(bytes.size(), kMaxErrorBytes)));
    }
    return spool.append(bytes);
  };
  OU_TRY(const int status,
         engine.stream("GET", "/images/" + id + "/get", on_data, kIdleTimeout, {}));
  OU_CHECK(check_status(status, reference, error_body));
  OU_TRY(std::shared_ptr<const NamedFiles> files, open_tar_files(spool.finish()));
  return open_docker_archive(std::move(files), "");
}

}  // namespace oci
