// Plain blocking code: each of a few threads accepts a connection, serves it to its end, and
// accepts the next one.
#include "install/loopback_registry.hpp"

#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/bytes.hpp"
#include "install/byte_range.hpp"
#include "install/http_connection.hpp"
#include "install/listening_socket.hpp"
#include "install/registry_content.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view kHost = "127.0.0.1:";
constexpr std::size_t kTokenBytes = 16;
constexpr std::size_t kSendBytes = std::size_t{128} * 1024;

base::Result<std::string> random_token() {
  std::array<std::uint8_t, kTokenBytes> bytes{};
  // Up to 256 bytes come in one piece or not at all: getrandom(2).
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return Error::from_errno(errno, "get random bytes");
  }
  return base::to_hex(bytes);
}

bool is_token(std::string_view text) {
  const auto bytes = base::from_hex(text);
  return bytes && bytes->size() == kTokenBytes;
}

base::Result<std::string> checked_token(const std::string& token) {
  if (token.empty()) {
    return random_token();
  }
  if (!is_token(token)) {
    return Error(ErrorCode::kUsage, "a registry token has 32 lower-case hexadecimal digits");
  }
  return token;
}

/// Status line and headers, with what every answer has.
std::string head(std::string_view status, std::string_view headers, std::uint64_t content_length,
                 bool keep_alive) {
  std::string text = "HTTP/1.1 ";
  text += status;
  text += "\r\nDocker-Distribution-Api-Version: registry/2.0\r\n";
  text += headers;
  text += "Content-Length: " + std::to_string(content_length) + "\r\n";
  text += keep_alive ? "\r\n" : "Connection: close\r\n\r\n";
  return text;
}

/// One answer with a small body, which a HEAD request is only told the length of.
std::string answer(const HttpRequest& request, std::string_view status, std::string_view headers,
                   std::string_view body) {
  std::string text = head(status, headers, body.size(), request.keep_alive);
  if (request.method != HttpRequest::Method::kHead) {
    text += body;
  }
  return text;
}

/// \source OCI distribution specification, "Error Codes"
std::string error_answer(const HttpRequest& request, std::string_view status,
                         std::string_view code) {
  const std::string body =
      R"({"errors":[{"code":")" + std::string(code) + R"(","message":"","detail":null}]})";
  return answer(request, status, "Content-Type: application/json\r\n", body);
}

struct Content {
  std::string_view media_type;
  oci::Digest digest;
  std::uint64_t size_bytes;
};

std::string content_headers(const Content& content) {
  return "Content-Type: " + std::string(content.media_type) +
         "\r\nDocker-Content-Digest: " + content.digest.text() + "\r\nAccept-Ranges: bytes\r\n";
}

}  // namespace

struct LoopbackRegistry::State {
  State(RegistryContent served, bundle::ChunkProvider& provider, ListeningSocket socket)
      : content(std::move(served)),
        chunks(provider),
        listening(std::move(socket)),
        address{listening.port, content.token()} {}

  void start_threads() {
    for (int i = 0; i < kMaxConnections; ++i) {
      threads.emplace_back([this] { accept_connections(); });
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      // On Linux this ends accept(2) in every thread, as it ends recv(2) and send(2).
      ::shutdown(listening.fd.get(), SHUT_RDWR);
      for (const int fd : open) {
        ::shutdown(fd, SHUT_RDWR);
      }
    }
    changed.notify_all();
    for (auto& thread : threads) {
      thread.join();
    }
  }

  void accept_connections() {
    for (;;) {
      const base::UniqueFd fd(::accept4(listening.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!enter(fd)) {
        return;
      }
      if (fd.valid()) {
        serve(fd.get());
        leave(fd.get());
      }
    }
  }

  /// \return false when the registry is going away
  bool enter(const base::UniqueFd& fd) {
    std::unique_lock lock(mutex);
    if (fd.valid() && !stopping) {
      open.insert(fd.get());
    } else if (!stopping) {
      // Out of descriptors or memory: accept(2) would fail again at once.
      constexpr std::chrono::milliseconds kPause{100};
      changed.wait_for(lock, kPause, [this] { return stopping; });
    }
    return !stopping;
  }

  void leave(int fd) {
    const std::lock_guard lock(mutex);
    open.erase(fd);
  }

  /// Whatever ends a connection ends only that: the engine comes back for the rest.
  void serve(int fd) {
    HttpConnection connection(fd);
    if (connection.starts_with_tls().value_or(true)) {
      return;
    }
    for (;;) {
      const auto request = connection.read_request();
      if (!request || !*request || !reply(connection, **request) || !(*request)->keep_alive) {
        return;
      }
    }
  }

  base::Status reply(const HttpConnection& connection, const HttpRequest& request) {
    if (request.method == HttpRequest::Method::kOther) {
      return connection.write(
          base::as_bytes(error_answer(request, "405 Method Not Allowed", "UNSUPPORTED")));
    }
    const Resource resource = content.find(request.target);
    if (std::holds_alternative<RegistryRoot>(resource)) {
      return connection.write(
          base::as_bytes(answer(request, "200 OK", "Content-Type: application/json\r\n", "{}")));
    }
    if (const auto* document = std::get_if<const Document*>(&resource)) {
      const Document& found = **document;
      return send(
          connection, request, {found.media_type, found.digest, found.bytes.size()},
          [&](const ByteRange& range) {
            return connection.write(base::as_bytes(found.bytes).subspan(range.first, range.count));
          });
    }
    if (const auto* layer = std::get_if<const bundle::Blob*>(&resource)) {
      const bundle::Blob& found = **layer;
      return send(
          connection, request,
          {"application/octet-stream", found.uncompressed_digest, found.uncompressed_size_bytes},
          [&](const ByteRange& range) { return send_layer(connection, found, range); });
    }
    return connection.write(base::as_bytes(error_answer(request, "404 Not Found", "NAME_UNKNOWN")));
  }

  /// Sends the part of `what` that the request asks for; `body` writes it.
  template <typename Body>
  base::Status send(const HttpConnection& connection, const HttpRequest& request,
                    const Content& what, const Body& body) const {
    ByteRange range{0, what.size_bytes};
    std::string status = "200 OK";
    std::string headers = content_headers(what);
    const std::string size = std::to_string(what.size_bytes);
    if (request.range) {
      const auto asked = parse_range(*request.range, what.size_bytes);
      if (!asked) {
        return connection.write(base::as_bytes(answer(
            request, "416 Range Not Satisfiable", "Content-Range: bytes */" + size + "\r\n", "")));
      }
      range = *asked;
      status = "206 Partial Content";
      headers += "Content-Range: bytes " + std::to_string(range.first) + "-" +
                 std::to_string(range.first + range.count - 1) + "/" + size + "\r\n";
    }
    OU_CHECK(
        connection.write(base::as_bytes(head(status, headers, range.count, request.keep_alive))));
    return request.method == HttpRequest::Method::kHead ? base::ok() : body(range);
  }

  base::Status send_layer(const HttpConnection& connection, const bundle::Blob& blob,
                          const ByteRange& range) {
    auto source = bundle::open_uncompressed(chunks, blob, range.first);
    if (!source) {
      return fail(std::move(source).error(), blob);
    }
    base::Bytes buffer(kSendBytes);
    for (std::uint64_t left = range.count; left > 0;) {
      const auto room = std::span(buffer).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(left, kSendBytes)));
      const auto got = (*source)->read(room);
      if (!got || *got == 0) {
        return fail(
            got ? Error(ErrorCode::kBlobExpansion, "the layer ends too early") : got.error(), blob);
      }
      left -= *got;
      bytes_served += *got;  // first, so that whoever has received bytes finds them counted
      OU_CHECK(connection.write(room.first(*got)));
    }
    return base::ok();
  }

  /// Keeps the first error for the owner, who is the only one that can do something about it.
  Error fail(const Error& error, const bundle::Blob& blob) {
    {
      const std::lock_guard lock(mutex);
      if (!failure && error.code() != ErrorCode::kCancelled) {
        failure = Error(error).within("layer " + blob.uncompressed_digest.text());
      }
    }
    changed.notify_all();
    return error;
  }

  const RegistryContent content;
  bundle::ChunkProvider& chunks;
  const ListeningSocket listening;
  const RegistryAddress address;
  std::atomic<std::uint64_t> bytes_served = 0;

  std::mutex mutex;
  std::condition_variable_any changed;
  bool stopping = false;
  std::set<int> open;  // sockets that are being served
  std::optional<Error> failure;
  std::vector<std::thread> threads;
};

base::Result<std::unique_ptr<LoopbackRegistry>> LoopbackRegistry::start(
    const RegistryAddress& address, const bundle::Manifest& manifest,
    bundle::ChunkProvider& chunks) {
  OU_TRY(auto token, checked_token(address.token));
  OU_TRY(auto content, RegistryContent::load(std::move(token), manifest, chunks));
  OU_TRY(auto socket, listen_on_loopback(address.port));
  auto state = std::make_unique<State>(std::move(content), chunks, std::move(socket));
  state->start_threads();
  return std::unique_ptr<LoopbackRegistry>(new LoopbackRegistry(std::move(state)));
}

LoopbackRegistry::LoopbackRegistry(std::unique_ptr<State> state) : state_(std::move(state)) {}

LoopbackRegistry::~LoopbackRegistry() {
  state_->stop();
}

const RegistryAddress& LoopbackRegistry::address() const {
  return state_->address;
}

bool is_loopback_reference(std::string_view reference) {
  const auto slash = reference.find('/');
  if (!reference.starts_with(kHost) || slash == std::string_view::npos) {
    return false;
  }
  const auto port = reference.substr(kHost.size(), slash - kHost.size());
  const auto path = reference.substr(slash + 1);
  const auto end = path.find('/');
  return !port.empty() && port.find_first_not_of("0123456789") == std::string_view::npos &&
         end != std::string_view::npos && is_token(path.substr(0, end));
}

std::string LoopbackRegistry::reference(const bundle::Image& image) const {
  return std::string(kHost) + std::to_string(state_->address.port) + "/" + state_->address.token +
         "/" + image.id.hex() + "@" + state_->content.manifest_of(image.id).text();
}

std::uint64_t LoopbackRegistry::bytes_served() const {
  return state_->bytes_served;
}

std::optional<base::Error> LoopbackRegistry::failure() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failure;
}

bool LoopbackRegistry::wait_for_failure(const std::stop_token& stop) const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait(lock, stop, [this] { return state_->failure.has_value(); });
}

}  // namespace agent::install
