// A blocking HTTP client that does exactly what a test tells it, wrong things too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"

namespace support {

struct HttpReply {
  int status = 0;
  std::string head;  // status line and headers
  std::string body;
  bool complete = false;  // the whole announced length arrived

  /// The value of a header; nothing if it is not there. \param name as the server writes it
  [[nodiscard]] std::optional<std::string> header(std::string_view name) const;
};

/// One connection to 127.0.0.1. Throws std::runtime_error when it cannot be made.
class HttpClient {
 public:
  explicit HttpClient(std::uint16_t port);

  /// Sends `text` as it is. A peer that is gone is no error: the next read tells.
  void send(std::string_view text) const;
  /// Sends a request of HTTP/1.1. \param headers lines that end in CRLF
  void request(std::string_view method, std::string_view target,
               std::string_view headers = "") const;
  /// Reads one reply to its end, or as far as the peer sends it.
  /// \param has_body false after HEAD
  [[nodiscard]] HttpReply read_reply(bool has_body = true);
  /// Reads until there are `size` bytes or the peer closes.
  [[nodiscard]] std::string read_some(std::size_t size);
  /// Whether the peer has closed the connection; waits for bytes or for that.
  [[nodiscard]] bool closed_by_peer();

 private:
  bool receive();

  base::UniqueFd fd_;
  std::string buffer_;
};

/// One request on a connection of its own.
HttpReply http_get(std::uint16_t port, std::string_view target, std::string_view headers = "");

}  // namespace support
