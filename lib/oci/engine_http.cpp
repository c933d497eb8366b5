#include "oci/engine_http.hpp"

#include <sys/un.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr std::size_t kPieceBytes = std::size_t{128} * 1024;
constexpr std::string_view kUnixScheme = "unix://";

// How long one exchange may take: until a point in time, or for so long between two pieces.
class Patience {
 public:
  static Patience until(Clock::time_point end) { return {end, std::nullopt}; }
  static Patience idle(std::chrono::milliseconds longest) {
    return {std::nullopt, longest.count() == 0 ? std::nullopt : std::optional(longest)};
  }
  // The end of a wait that begins now; nothing: wait for ever.
  [[nodiscard]] std::optional<Clock::time_point> end_of_wait() const {
    return idle_ ? std::optional(Clock::now() + *idle_) : end_;
  }

 private:
  Patience(std::optional<Clock::time_point> end, std::optional<std::chrono::milliseconds> idle)
      : end_(end), idle_(idle) {}
  std::optional<Clock::time_point> end_;
  std::optional<std::chrono::milliseconds> idle_;
};

// One request and its reply on a connection of its own.
class Exchange {
 public:
  Exchange(const std::string& socket_path, Patience patience, std::stop_token stop)
      : socket_path_(socket_path),
        patience_(patience),
        stop_(std::move(stop)),
        on_stop_(stop_, Interrupt{context_}) {
    parser_.body_limit(boost::none);
  }

  base::Result<int> run(const std::string& method, const std::string& target,
                        const std::string& body,
                        const std::function<base::Status(base::ByteView)>& on_data) {
    OU_CHECK(connect());
    OU_CHECK(send(method, target, body));
    OU_TRY(const error_code header, await([this](auto done) {
             http::async_read_header(socket_, buffer_, parser_, std::move(done));
           }));
    if (header) {
      return broken(header);
    }
    OU_CHECK(receive_body(on_data));
    return static_cast<int>(parser_.get().result_int());
  }

 private:
  struct Interrupt {
    asio::io_context& context;
    void operator()() const { context.stop(); }
  };

  // Starts one asynchronous operation and waits for its end, the deadline or the stop request.
  // After the latter two the connection is closed and the operation has ended.
  template <typename Start>
  base::Result<error_code> await(Start start) {
    std::optional<error_code> outcome;
    start([&outcome](error_code failure, auto... /*bytes*/) { outcome = failure; });
    context_.restart();
    if (!stop_.stop_requested()) {
      if (const auto end = patience_.end_of_wait()) {
        context_.run_until(*end);
      } else {
        context_.run();
      }
    }
    if (outcome) {
      return *outcome;
    }
    error_code ignored;  // there is nothing left to do on this connection
    socket_.close(ignored);
    do {
      context_.restart();  // a stop request may come in between
      context_.run();
    } while (!outcome);
    if (stop_.stop_requested()) {
      return Error(ErrorCode::kCancelled, "cancelled");
    }
    return Error(ErrorCode::kTimeout, "the engine at " + socket_path_ + " did not answer in time");
  }

  base::Status connect() {
    if (socket_path_.size() >= sizeof(sockaddr_un::sun_path)) {
      return Error(ErrorCode::kEngineUnavailable,
                   "the engine's socket path is longer than 107 bytes: " + socket_path_);
    }
    const asio::local::stream_protocol::endpoint endpoint(socket_path_);
    OU_TRY(const error_code failure,
           await([&](auto done) { socket_.async_connect(endpoint, std::move(done)); }));
    if (failure) {
      return Error(ErrorCode::kEngineUnavailable, "no engine answers at " + socket_path_ + ": " +
                                                      failure.message() +
                                                      "; is it running, and may this user use it?");
    }
    return base::ok();
  }

  base::Status send(const std::string& method, const std::string& target, const std::string& body) {
    constexpr unsigned kHttp11 = 11;
    http::request<http::string_body> request;
    request.version(kHttp11);
    request.method_string(method);
    request.target(target);
    request.set(http::field::host, "localhost");
    request.set(http::field::user_agent, "offline-updater");
    request.set(http::field::connection, "close");
    if (!body.empty()) {
      request.set(http::field::content_type, "application/json");
    }
    request.body() = body;
    request.prepare_payload();
    OU_TRY(const error_code failure,
           await([&](auto done) { http::async_write(socket_, request, std::move(done)); }));
    // An engine may answer and close before it has read all: then its answer says why.
    if (failure && failure != asio::error::broken_pipe &&
        failure != asio::error::connection_reset) {
      return broken(failure);
    }
    return base::ok();
  }

  base::Status receive_body(const std::function<base::Status(base::ByteView)>& on_data) {
    base::Bytes piece(kPieceBytes);
    while (!parser_.is_done()) {
      auto& body = parser_.get().body();
      body.data = piece.data();
      body.size = piece.size();
      OU_TRY(const error_code failure, await([this](auto done) {
               http::async_read_some(socket_, buffer_, parser_, std::move(done));
             }));
      if (failure && failure != http::error::need_buffer) {
        return broken(failure);
      }
      const std::size_t count = piece.size() - body.size;
      if (count > 0) {
        OU_CHECK(on_data(base::ByteView(piece).first(count)));
      }
    }
    return base::ok();
  }

  [[nodiscard]] Error broken(const error_code& failure) const {
    const bool lost = failure == http::error::end_of_stream ||
                      failure == http::error::partial_message ||
                      failure.category() == boost::system::system_category() ||
                      failure.category() == asio::error::get_misc_category();
    return Error(lost ? ErrorCode::kEngineUnavailable : ErrorCode::kEngine,
                 (lost ? "the connection to the engine at " + socket_path_ + " was lost: "
                       : "the engine at " + socket_path_ + " does not speak HTTP: ") +
                     failure.message());
  }

  std::string socket_path_;
  Patience patience_;
  asio::io_context context_{1};
  asio::local::stream_protocol::socket socket_{context_};
  boost::beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::stop_token stop_;
  std::stop_callback<Interrupt> on_stop_;
};

}  // namespace

base::Result<std::string> EngineHttp::default_socket() {
  for (const char* variable : {"DOCKER_HOST", "BALENA_HOST"}) {
    const char* value = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe): nobody sets it
    if (value == nullptr || *value == '\0') {
      continue;
    }
    const std::string_view host(value);
    if (!host.starts_with(kUnixScheme)) {
      return Error(ErrorCode::kEngineUnavailable,
                   std::string(variable) + " must be unix://PATH: only a local engine can be used");
    }
    return std::string(host.substr(kUnixScheme.size()));
  }
  for (const char* path : {"/var/run/balena-engine.sock", "/var/run/docker.sock"}) {
    std::error_code ignored;  // what cannot be looked at is not there for us
    if (std::filesystem::is_socket(path, ignored)) {
      return std::string(path);
    }
  }
  return Error(ErrorCode::kEngineUnavailable,
               "there is no engine's socket; set DOCKER_HOST=unix://PATH");
}

base::Result<EngineReply> EngineHttp::call(const std::string& method, const std::string& target,
                                           const std::string& body,
                                           std::chrono::milliseconds timeout) const {
  std::string reply;
  const auto collect = [&reply](base::ByteView bytes) -> base::Status {
    if (bytes.size() > kMaxEngineReplyBytes - reply.size()) {
      return Error(ErrorCode::kEngine, "the engine's reply is longer than 32 MiB");
    }
    reply += base::as_text(bytes);
    return base::ok();
  };
  Exchange exchange(socket_path_, Patience::until(Clock::now() + timeout), {});
  OU_TRY(const int status,
         exchange.run(method, target, body, collect).within(method + " " + target));
  return EngineReply{status, std::move(reply)};
}

base::Result<int> EngineHttp::stream(const std::string& method, const std::string& target,
                                     const std::function<base::Status(base::ByteView)>& on_data,
                                     std::chrono::milliseconds idle_timeout,
                                     std::stop_token stop) const {
  Exchange exchange(socket_path_, Patience::idle(idle_timeout), std::move(stop));
  return exchange.run(method, target, "", on_data).within(method + " " + target);
}

}  // namespace oci
