// Waits at most half a minute for anything, so that a test fails instead of hanging.
#include "support/http_client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <stdexcept>

namespace support {

std::optional<std::string> HttpReply::header(std::string_view name) const {
  const std::string start = "\r\n" + std::string(name) + ": ";
  const auto at = head.find(start);
  if (at == std::string::npos) {
    return std::nullopt;
  }
  const auto from = at + start.size();
  return head.substr(from, head.find("\r\n", from) - from);
}

HttpClient::HttpClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval limit{30, 0};
  if (!fd_.valid() ||
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
      ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    throw std::runtime_error("cannot connect to 127.0.0.1:" + std::to_string(port));
  }
}

void HttpClient::send(std::string_view text) const {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) {
      return;
    }
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void HttpClient::request(std::string_view method, std::string_view target,
                         std::string_view headers) const {
  send(std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" +
       std::string(headers) + "\r\n");
}

bool HttpClient::receive() {
  std::array<char, 65536> piece{};
  const ssize_t got = ::recv(fd_.get(), piece.data(), piece.size(), 0);
  if (got > 0) {
    buffer_.append(piece.data(), static_cast<std::size_t>(got));
  }
  return got > 0;
}

HttpReply HttpClient::read_reply(bool has_body) {
  HttpReply reply;
  auto end = buffer_.find("\r\n\r\n");
  while (end == std::string::npos) {
    if (!receive()) {
      return reply;
    }
    end = buffer_.find("\r\n\r\n");
  }
  reply.head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  reply.status = std::stoi(reply.head.substr(reply.head.find(' ') + 1));
  const std::size_t length =
      has_body ? std::stoul(reply.header("Content-Length").value_or("0")) : 0;
  reply.body = read_some(length);
  reply.complete = reply.body.size() == length;
  return reply;
}

std::string HttpClient::read_some(std::size_t size) {
  while (buffer_.size() < size && receive()) {
  }
  std::string out = buffer_.substr(0, size);
  buffer_.erase(0, out.size());
  return out;
}

bool HttpClient::closed_by_peer() {
  if (!buffer_.empty()) {
    return false;
  }
  char unused = 0;
  const ssize_t got = ::recv(fd_.get(), &unused, 1, MSG_PEEK);
  return got == 0 || (got < 0 && errno == ECONNRESET);
}

HttpReply http_get(std::uint16_t port, std::string_view target, std::string_view headers) {
  HttpClient client(port);
  client.request("GET", target, headers);
  return client.read_reply();
}

}  // namespace support
