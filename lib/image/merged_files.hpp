// Small files of an image in an engine's store, as a container would see them: the layers lie on
// each other. Meant for the few settings that a hostapp carries; nothing is put together.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "image/engine_store.hpp"

namespace image {

/// The content of the regular file `path`; nothing if there is none. Symbolic links are followed
/// within the image; a directory that hides those below it (an opaque one) is not known as such.
/// \error ErrorCode::kLimitExceeded; kImageInvalid for links without end; those of EngineStore
base::Result<std::optional<std::string>> read_merged_file(const EngineStore& store,
                                                          const StoredImage& image,
                                                          const std::string& path,
                                                          std::uint64_t limit_bytes);

/// The lines KEY=VALUE of a file like os-release or supervisor.conf; quotes around a value are
/// taken off, all else is left out.
/// \source os-release(5); systemd.exec(5), EnvironmentFile=
std::map<std::string, std::string> parse_settings(std::string_view text);

}  // namespace image
