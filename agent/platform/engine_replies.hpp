// What an engine's JSON replies mean. Unknown fields are ignored, missing ones are errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "install/engine.hpp"

namespace agent::platform {

/// Longest text of an engine that goes into an error message.
inline constexpr std::size_t kMaxEngineWords = 1000;

/// Every function here: \error ErrorCode::kEngine when the text is not what the engine's API says
/// \source Docker Engine API v1.40 to v1.44: SystemInfo, SystemVersion, ImageSummary, ImageInspect,
///   ContainerSummary, ContainerInspect

/// \param info, version replies of GET /info and GET /version
base::Result<install::EngineFacts> read_facts(std::string_view info, std::string_view version);
/// The field Id of each object in a list.
base::Result<std::vector<std::string>> read_ids(std::string_view list);
/// The images in a list: their names, without their layers.
base::Result<std::vector<install::EngineImage>> read_images(std::string_view list);
base::Result<install::EngineImage> read_image(std::string_view document);
base::Result<install::EngineContainer> read_container(std::string_view document);

/// What an error reply says, printable: the field "message", or else the text as it is.
std::string error_words(std::string_view body);

}  // namespace agent::platform
