// HTTP to a container engine over its Unix socket: the part that bundle-tool and the agent share.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace oci {

struct EngineReply {
  int status;        // HTTP status
  std::string body;  // at most kMaxEngineReplyBytes
};

inline constexpr std::size_t kMaxEngineReplyBytes = std::size_t{32} * 1024 * 1024;

/// One engine. Each call opens a connection of its own, so calls from several threads are fine.
class EngineHttp {
 public:
  explicit EngineHttp(std::string socket_path) : socket_path_(std::move(socket_path)) {}

  /// The socket that DOCKER_HOST or BALENA_HOST names ("unix://..."), else the first that exists of
  /// /var/run/balena-engine.sock, /var/run/docker.sock. \error ErrorCode::kEngineUnavailable
  static base::Result<std::string> default_socket();

  /// \param target path and query, such as "/images/json?all=1"
  /// \param body JSON, or empty for none
  /// \param timeout for the whole call
  /// \error ErrorCode::kEngineUnavailable when it does not answer; kTimeout; kEngine when the reply
  ///   is not HTTP or too long. An HTTP status of 400 and more is not an error here.
  [[nodiscard]] base::Result<EngineReply> call(const std::string& method, const std::string& target,
                                               const std::string& body,
                                               std::chrono::milliseconds timeout) const;

  /// The same for a body that comes in pieces for as long as it takes (a pull's progress, a saved
  /// image). Each piece goes to `on_data`; an error from it, or `stop`, closes the connection.
  /// \param idle_timeout longest wait between two pieces; zero: no limit
  /// \return the HTTP status. For a status of 400 and more `on_data` gets the error body.
  /// \error as call(); kCancelled for `stop`; what on_data returned
  base::Result<int> stream(const std::string& method, const std::string& target,
                           const std::function<base::Status(base::ByteView)>& on_data,
                           std::chrono::milliseconds idle_timeout, std::stop_token stop) const;

 private:
  std::string socket_path_;
};

}  // namespace oci
