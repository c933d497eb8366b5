// Blocking sockets; Beast does the parsing and nothing else.
#include "install/http_connection.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cerrno>

namespace agent::install {
namespace {

namespace http = boost::beast::http;
using base::Error;
using base::ErrorCode;
using Clock = std::chrono::steady_clock;
using Parser = http::request_parser<http::empty_body>;

constexpr char kTlsHandshake = 0x16;  // RFC 8446, section 5.1, ContentType

HttpRequest to_request(const Parser& parser) {
  const auto& message = parser.get();
  HttpRequest request;
  request.method = message.method() == http::verb::get    ? HttpRequest::Method::kGet
                   : message.method() == http::verb::head ? HttpRequest::Method::kHead
                                                          : HttpRequest::Method::kOther;
  request.target = std::string(message.target());
  const auto ranges = message.equal_range(http::field::range);
  if (ranges.first != ranges.second) {
    // Two of them are joined, as RFC 9110 has it, and refused as several ranges.
    std::string joined;
    for (auto at = ranges.first; at != ranges.second; ++at) {
      joined += (joined.empty() ? "" : ",") + std::string(at->value());
    }
    request.range = std::move(joined);
  }
  request.keep_alive = parser.keep_alive();
  return request;
}

}  // namespace

base::Status HttpConnection::wait_readable(Clock::time_point deadline) const {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      return Error(ErrorCode::kTimeout, "the peer sent no request");
    }
    pollfd waited{.fd = fd_, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(left.count()));
    if (ready > 0) {
      return base::ok();
    }
    if (ready < 0 && errno != EINTR) {
      return Error::from_errno(errno, "wait for a request");
    }
  }
}

base::Result<bool> HttpConnection::starts_with_tls() const {
  OU_CHECK(wait_readable(Clock::now() + kRequestTimeout));
  char first = 0;
  const ssize_t got = ::recv(fd_, &first, 1, MSG_PEEK);
  if (got < 0) {
    return Error::from_errno(errno, "receive");
  }
  return got == 1 && first == kTlsHandshake;
}

base::Result<std::optional<HttpRequest>> HttpConnection::read_request() {
  const auto deadline = Clock::now() + kRequestTimeout;
  Parser parser;
  parser.header_limit(kMaxHeaderBytes);
  parser.body_limit(0);
  for (;;) {
    boost::system::error_code error;
    const std::size_t used = parser.put(boost::asio::const_buffer(buffer_.data(), filled_), error);
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(used),
              buffer_.begin() + static_cast<std::ptrdiff_t>(filled_), buffer_.begin());
    filled_ -= used;
    if (!error && parser.is_done()) {
      return std::optional(to_request(parser));
    }
    if (!error && parser.is_header_done()) {
      return Error(ErrorCode::kIo, "request: it has a body");
    }
    if (error && error != http::error::need_more) {
      return Error(error == http::error::header_limit ? ErrorCode::kLimitExceeded : ErrorCode::kIo,
                   "request: " + error.message());
    }
    if (filled_ == buffer_.size()) {
      return Error(ErrorCode::kLimitExceeded, "request: the header is too long");
    }
    OU_CHECK(wait_readable(deadline));
    const ssize_t got = ::recv(fd_, buffer_.data() + filled_, buffer_.size() - filled_, 0);
    if (got < 0) {
      return Error::from_errno(errno, "receive");
    }
    if (got == 0) {
      if (filled_ == 0 && !parser.got_some()) {
        return std::optional<HttpRequest>();
      }
      return Error(ErrorCode::kIo, "request: the connection ended inside it");
    }
    filled_ += static_cast<std::size_t>(got);
  }
}

base::Status HttpConnection::write(base::ByteView bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    } else if (errno != EINTR) {
      return Error::from_errno(errno, "send");
    }
  }
  return base::ok();
}

}  // namespace agent::install
