#include "platform/uevent_socket.hpp"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace agent::platform {
namespace {

constexpr unsigned kKernelGroup = 1;
constexpr std::size_t kMessageBytes = 8192;  // the kernel's limit is 2048 bytes and the header
constexpr int kMessagesPerCall = 1024;
constexpr int kReceiveBufferBytes = 1024 * 1024;

/// The first of the message's texts; it is removed from `rest`.
std::string_view next_text(std::string_view& rest) {
  const auto end = rest.find('\0');
  const auto text = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return text;
}

}  // namespace

std::optional<std::string> disk_of_device_path(std::string_view path) {
  constexpr std::string_view kBlock = "/block/";
  const auto start = path.rfind(kBlock);
  if (start == std::string_view::npos) {
    return std::nullopt;
  }
  auto name = path.substr(start + kBlock.size());
  name = name.substr(0, name.find('/'));
  if (name.empty() || name == "." || name == "..") {
    return std::nullopt;
  }
  return std::string(name);
}

std::optional<BlockEvent> parse_uevent(std::string_view message) {
  auto rest = message;
  if (next_text(rest).find('@') == std::string_view::npos) {
    return std::nullopt;
  }
  std::string_view path;
  bool is_block = false;
  bool is_disk = false;
  bool is_removed = false;
  bool is_media_change = false;
  while (!rest.empty()) {
    const auto text = next_text(rest);
    is_block = is_block || text == "SUBSYSTEM=block";
    is_disk = is_disk || text == "DEVTYPE=disk";
    is_removed = is_removed || text == "ACTION=remove";
    is_media_change = is_media_change || text == "DISK_MEDIA_CHANGE=1";
    if (text.starts_with("DEVPATH=")) {
      path = text.substr(text.find('=') + 1);
    }
  }
  auto disk = disk_of_device_path(path);
  if (!is_block || !disk) {
    return std::nullopt;
  }
  return BlockEvent{*std::move(disk), is_disk && (is_removed || is_media_change)};
}

base::Result<UeventSocket> UeventSocket::open() {
  base::UniqueFd fd(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  if (!fd.valid()) {
    return base::Error::from_errno(errno, "open a socket for kernel events");
  }
  // More room means fewer rescans of everything; without it the socket works as well.
  static_cast<void>(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes,
                                 sizeof(kReceiveBufferBytes)));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the socket API's own way
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return base::Error::from_errno(errno, "listen to kernel events");
  }
  return UeventSocket(std::move(fd));
}

base::Result<UeventSocket::Received> UeventSocket::receive() {
  Received received;
  std::array<char, kMessageBytes> buffer{};
  for (int i = 0; i < kMessagesPerCall; ++i) {
    sockaddr_nl sender{};
    socklen_t sender_bytes = sizeof(sender);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
    auto* const address = reinterpret_cast<sockaddr*>(&sender);
    const ssize_t got =
        ::recvfrom(fd_.get(), buffer.data(), buffer.size(), 0, address, &sender_bytes);
    if (got >= 0) {
      const std::string_view message(buffer.data(), static_cast<std::size_t>(got));
      auto event = parse_uevent(message);
      if (sender.nl_pid == 0 && event) {  // 0: the kernel, and no other process
        received.events.push_back(*std::move(event));
      }
    } else if (errno == ENOBUFS) {
      received.lost = true;
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return base::Error::from_errno(errno, "receive kernel events");
    }
  }
  return received;
}

}  // namespace agent::platform
