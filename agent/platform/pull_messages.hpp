// Reads what an engine says while it pulls: one JSON object after the other.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace agent::platform {

/// The HTTP status of a pull is 200 even when it fails: only the messages tell.
/// \source engine-and-supervisor.md section 9; Docker Engine API, "Create an image"
class PullMessages {
 public:
  /// Longest line that an engine may send.
  static constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20U;

  /// Takes a piece of the stream, cut anywhere.
  /// \error ErrorCode::kEnginePull for a line that is too long or no JSON object
  base::Status add(base::ByteView piece);

  /// What became of the pull, at the end of the stream.
  /// \error ErrorCode::kEnginePull with the engine's words, or when it never reported success
  base::Status finish();

 private:
  base::Status add_line(std::string_view line);

  std::string partial_;
  std::optional<std::string> error_;
  bool succeeded_ = false;
};

}  // namespace agent::platform
