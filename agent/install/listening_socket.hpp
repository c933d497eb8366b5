// A TCP socket that listens on 127.0.0.1.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace agent::install {

struct ListeningSocket {
  base::UniqueFd fd;
  std::uint16_t port;
};

/// A port that only connections of an earlier process linger on can be had again at once.
/// \param port 0: any free one
/// \error ErrorCode::kPortUnavailable
/// \source ip(7), tcp(7), socket(7) SO_REUSEADDR
base::Result<ListeningSocket> listen_on_loopback(std::uint16_t port);

}  // namespace agent::install
