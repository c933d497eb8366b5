// A server on a Unix socket that answers each connection with prepared bytes, for tests of clients.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "base/unique_fd.hpp"

namespace support {

class SocketServer {
 public:
  /// \param serve called on a thread of its own with each connection, one after the other
  SocketServer(const std::filesystem::path& path, std::function<void(int connection)> serve)
      : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), serve_(std::move(serve)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    int ends[2] = {-1, -1};
    if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(listener_.get(), 8) != 0 || ::pipe2(ends, O_CLOEXEC) != 0) {
      throw std::runtime_error("no socket at " + path.string());
    }
    wake_read_.reset(ends[0]);
    wake_write_.reset(ends[1]);
    thread_ = std::thread([this] { run(); });
  }
  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;
  ~SocketServer() {
    wake_write_.reset();
    thread_.join();
  }

  /// Reads a request's head (and whatever came with it).
  static std::string receive_head(int connection) {
    std::string text;
    char buffer[4096];
    while (text.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(connection, buffer, sizeof(buffer), 0);
      if (got <= 0) {
        break;
      }
      text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
  }
  static void send(int connection, std::string_view text) {
    while (!text.empty()) {
      const ssize_t put = ::send(connection, text.data(), text.size(), MSG_NOSIGNAL);
      if (put <= 0) {
        return;
      }
      text.remove_prefix(static_cast<std::size_t>(put));
    }
  }
  /// Waits until the other side has closed the connection.
  static void wait_for_close(int connection) {
    char buffer[4096];
    while (::recv(connection, buffer, sizeof(buffer), 0) > 0) {
    }
  }

 private:
  void run() {
    for (;;) {
      pollfd waits[2] = {{listener_.get(), POLLIN, 0}, {wake_read_.get(), POLLIN, 0}};
      if (::poll(waits, 2, -1) < 0 || waits[1].revents != 0) {
        return;
      }
      const base::UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.valid()) {
        serve_(connection.get());
      }
    }
  }

  base::UniqueFd listener_;
  base::UniqueFd wake_read_;
  base::UniqueFd wake_write_;
  std::function<void(int)> serve_;
  std::thread thread_;
};

}  // namespace support
