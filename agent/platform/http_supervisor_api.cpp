#include "platform/http_supervisor_api.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/url.hpp>
#include <optional>

#include "base/json.hpp"

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;
using boost::system::error_code;
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::chrono::seconds kTimeout{10};
constexpr std::size_t kMaxReplyBytes = std::size_t{4} * 1024 * 1024;

Error api_error(const std::string& what) {
  return Error(ErrorCode::kSupervisorApi, "the supervisor's API: " + what);
}

/// Runs one asynchronous operation on the stream to its end, which its expiry brings at the latest.
template <typename Start>
error_code run(asio::io_context& context, Start start) {
  error_code outcome = asio::error::would_block;
  start([&outcome](error_code failure, auto&&... /*unused*/) { outcome = failure; });
  context.restart();
  context.run();
  return outcome;
}

}  // namespace

base::Result<std::string> HttpSupervisorApi::get(const std::string& target) const {
  OU_TRY(const auto key, key_());
  const auto url = boost::urls::parse_uri(address_);
  if (!url || url->scheme() != "http") {
    return api_error("\"" + address_ + "\" is no http://HOST:PORT address");
  }
  const std::string host(url->host());
  const std::string port(url->has_port() ? std::string(url->port()) : "80");

  asio::io_context context;
  beast::tcp_stream stream(context);
  error_code failure;
  const auto endpoints = asio::ip::tcp::resolver(context).resolve(host, port, failure);
  stream.expires_after(kTimeout);
  if (!failure) {
    failure = run(context, [&](auto done) { stream.async_connect(endpoints, std::move(done)); });
  }
  http::request<http::empty_body> request(http::verb::get, target, 11);
  request.set(http::field::host, host);
  request.set(http::field::authorization, "Bearer " + key);
  request.set(http::field::connection, "close");
  if (!failure) {
    failure = run(context, [&](auto done) { http::async_write(stream, request, std::move(done)); });
  }
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> reply;
  reply.body_limit(kMaxReplyBytes);
  if (!failure) {
    failure =
        run(context, [&](auto done) { http::async_read(stream, buffer, reply, std::move(done)); });
  }
  if (failure) {
    return api_error("GET " + target + ": " + failure.message());
  }
  if (reply.get().result() != http::status::ok) {
    return api_error("GET " + target + " answered " + std::to_string(reply.get().result_int()));
  }
  return std::move(reply.get().body());
}

base::Result<install::SupervisorStatus> HttpSupervisorApi::status() {
  OU_TRY(const auto body, get("/v2/state/status"));
  const auto json = base::parse_json(body, {.max_bytes = kMaxReplyBytes});
  if (!json) {
    return api_error(json.error().message());
  }
  base::JsonObject object(*json, "status");
  install::SupervisorStatus status;
  status.app_state = object.text("appState");
  status.release = object.value("release", false).is_string() ? object.text("release") : "";
  if (auto done = object.finish_open(); !done) {
    return api_error(done.error().message());
  }
  return status;
}

base::Result<std::string> HttpSupervisorApi::version() {
  OU_TRY(const auto body, get("/v2/version"));
  const auto json = base::parse_json(body, {.max_bytes = kMaxReplyBytes});
  if (!json) {
    return api_error(json.error().message());
  }
  base::JsonObject object(*json, "version");
  auto version = object.text("version");
  if (auto done = object.finish_open(); !done) {
    return api_error(done.error().message());
  }
  return version;
}

}  // namespace agent::platform
