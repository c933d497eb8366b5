// One HTTP/1.1 connection on the server's side: reads bodiless requests within limits, writes
// bytes.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace agent::install {

struct HttpRequest {
  enum class Method { kGet, kHead, kOther };
  Method method = Method::kOther;
  std::string target;
  std::optional<std::string> range;  // the Range header
  bool keep_alive = false;
};

/// Does not own the socket, which another thread may shut down to end a call.
class HttpConnection {
 public:
  static constexpr std::size_t kMaxHeaderBytes = 8192;
  /// How long the peer may take for one request, idle time before it included.
  static constexpr std::chrono::seconds kRequestTimeout{60};

  explicit HttpConnection(int fd) : fd_(fd) {}

  /// Whether the peer begins with a TLS record, as engines do that try https first. Waits for the
  /// first byte. \error ErrorCode::kTimeout, kIo
  [[nodiscard]] base::Result<bool> starts_with_tls() const;

  /// The next request; nothing when the peer has closed the connection between two.
  /// \error ErrorCode::kTimeout; kLimitExceeded for a header above kMaxHeaderBytes; kIo for
  /// anything
  ///   that is not HTTP, a request with a body, and what recv(2) reports
  base::Result<std::optional<HttpRequest>> read_request();

  /// Writes everything, however long the peer takes. \error ErrorCode::kIo
  base::Status write(base::ByteView bytes) const;

 private:
  [[nodiscard]] base::Status wait_readable(std::chrono::steady_clock::time_point deadline) const;

  int fd_;
  std::array<char, kMaxHeaderBytes> buffer_{};
  std::size_t filled_ = 0;
};

}  // namespace agent::install
