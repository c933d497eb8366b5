// socket, bind, listen, and what the kernel chose.
#include "install/listening_socket.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace agent::install {
namespace {

constexpr int kBacklog = 16;

base::Error unavailable(int error_number, std::uint16_t port) {
  return base::Error::from_errno(error_number, "listen on 127.0.0.1:" + std::to_string(port))
      .as(base::ErrorCode::kPortUnavailable);
}

}  // namespace

base::Result<ListeningSocket> listen_on_loopback(std::uint16_t port) {
  base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);  // what the socket interface takes
  if (!fd.valid() || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      ::bind(fd.get(), generic, sizeof(address)) != 0 || ::listen(fd.get(), kBacklog) != 0 ||
      ::getsockname(fd.get(), generic, &length) != 0) {
    return unavailable(errno, port);
  }
  return ListeningSocket{std::move(fd), ntohs(address.sin_port)};
}

}  // namespace agent::install
