// The engine runs with more rights than the agent, so this guards against surprises, not attacks.
#include "platform/engine_replies.hpp"

#include "base/json.hpp"
#include "base/printable.hpp"
#include "oci/engine_http.hpp"

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::JsonObject;
using install::EngineContainer;
using install::EngineFacts;
using install::EngineImage;

constexpr base::JsonLimits kReplyLimits{.max_bytes = oci::kMaxEngineReplyBytes,
                                        .max_string_bytes = std::size_t{1} << 20U};
constexpr std::size_t kMaxPathBytes = 4096;

base::Result<Json> parse_reply(std::string_view body) {
  auto parsed = base::parse_json(body, kReplyLimits);
  if (!parsed) {
    return std::move(parsed).error().as(ErrorCode::kEngine).within("the engine's reply");
  }
  return parsed;
}

/// The first failure of objects that have been read to their end.
base::Status finish(std::initializer_list<JsonObject*> objects) {
  for (JsonObject* object : objects) {
    if (auto finished = object->finish_open(); !finished) {
      return std::move(finished).error().as(ErrorCode::kEngine).within("the engine's reply");
    }
  }
  return base::ok();
}

base::Result<oci::Digest> parse_id(std::string_view text) {
  auto digest = oci::Digest::parse(text);
  if (!digest) {
    return std::move(digest).error().as(ErrorCode::kEngine).within("the engine's reply");
  }
  return digest;
}

// Engines write null where a list or object is empty, and leave fields out.
const Json& list_at(const Json& object, const char* key) {
  static const Json kEmpty = Json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : kEmpty;
}
const Json& object_at(const Json& object, const char* key) {
  static const Json kEmpty = Json::object();
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : kEmpty;
}
std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}
std::int64_t number_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

std::vector<std::string> strings_in(const Json& list) {
  std::vector<std::string> out;
  for (const auto& entry : list) {
    if (entry.is_string()) {
      out.push_back(entry.get<std::string>());
    }
  }
  return out;
}

/// Whether the engine is a balenaEngine that is known to extract layers while they arrive: version
/// 20 and older. Version 25 has not been tried, so it counts as one that needs the room.
bool streams_pulls(const Json& info, std::string_view version) {
  const bool is_balena = text_at(info, "InitBinary").starts_with("balena-engine");
  constexpr std::size_t kMajorDigits = 2;
  return is_balena && version.find('.') == kMajorDigits && version.substr(0, kMajorDigits) <= "20";
}

/// What the list of images and the description of one have in common.
base::Result<EngineImage> read_names(const Json& json) {
  JsonObject object(json, "image");
  const std::string id_text = object.text("Id");
  OU_CHECK(finish({&object}));
  OU_TRY(const auto id, parse_id(id_text));
  EngineImage image{id, strings_in(list_at(json, "RepoTags")), {}, {}};
  image.digests = strings_in(list_at(json, "RepoDigests"));
  return image;
}

}  // namespace

base::Result<EngineFacts> read_facts(std::string_view info, std::string_view version) {
  OU_TRY(const Json info_json, parse_reply(info));
  OU_TRY(const Json version_json, parse_reply(version));
  JsonObject info_object(info_json, "info");
  JsonObject version_object(version_json, "version");
  EngineFacts facts{.version = version_object.text("Version"),
                    .data_root = info_object.text("DockerRootDir", kMaxPathBytes),
                    .architecture = version_object.text("Arch"),
                    .spools_pulls = true};
  OU_CHECK(finish({&info_object, &version_object}));
  facts.spools_pulls = !streams_pulls(info_json, facts.version);
  return facts;
}

base::Result<std::vector<std::string>> read_ids(std::string_view list) {
  OU_TRY(const Json entries, parse_reply(list));
  if (!entries.is_array()) {
    return Error(ErrorCode::kEngine, "the engine's reply is not a list");
  }
  std::vector<std::string> ids;
  for (const auto& entry : entries) {
    JsonObject object(entry, "entry");
    ids.push_back(object.text("Id"));
    OU_CHECK(finish({&object}));
  }
  return ids;
}

base::Result<std::vector<EngineImage>> read_images(std::string_view list) {
  OU_TRY(const Json entries, parse_reply(list));
  if (!entries.is_array()) {
    return Error(ErrorCode::kEngine, "the engine's reply is not a list");
  }
  std::vector<EngineImage> images;
  for (const auto& entry : entries) {
    OU_TRY(auto image, read_names(entry));
    images.push_back(std::move(image));
  }
  return images;
}

base::Result<EngineImage> read_image(std::string_view document) {
  OU_TRY(const Json json, parse_reply(document));
  OU_TRY(auto image, read_names(json));
  for (const auto& text : strings_in(list_at(object_at(json, "RootFS"), "Layers"))) {
    OU_TRY(const auto diff_id, parse_id(text));
    image.diff_ids.push_back(diff_id);
  }
  return image;
}

base::Result<EngineContainer> read_container(std::string_view document) {
  OU_TRY(const Json json, parse_reply(document));
  JsonObject object(json, "container");
  JsonObject state(object.object("State"), "container.State");
  const std::string id = object.text("Id");
  std::string name = object.text("Name");
  const std::string image_text = object.text("Image");
  const bool running = state.optional_boolean("Running").value_or(false);
  const bool restarting = state.optional_boolean("Restarting").value_or(false);
  OU_CHECK(finish({&object, &state}));
  OU_TRY(const auto image_id, parse_id(image_text));
  if (name.starts_with('/')) {
    name.erase(0, 1);
  }
  const Json& state_json = object_at(json, "State");
  const std::string health = text_at(object_at(state_json, "Health"), "Status");
  const std::string policy =
      text_at(object_at(object_at(json, "HostConfig"), "RestartPolicy"), "Name");
  EngineContainer container{.id = id,
                            .name = std::move(name),
                            .image_id = image_id,
                            .running = running,
                            .restarting = restarting,
                            .restart_count = number_at(json, "RestartCount"),
                            .exit_code = number_at(state_json, "ExitCode"),
                            .started_at = text_at(state_json, "StartedAt"),
                            .health = health == "none" ? "" : health,
                            .may_end = policy == "no" || policy == "on-failure"};
  for (const auto& [key, value] : object_at(object_at(json, "Config"), "Labels").items()) {
    if (value.is_string()) {
      container.labels.emplace(key, value.get<std::string>());
    }
  }
  return container;
}

std::string error_words(std::string_view body) {
  const auto parsed = base::parse_json(body, kReplyLimits);
  const std::string message =
      parsed && parsed->is_object() ? text_at(*parsed, "message") : std::string();
  return base::printable(message.empty() ? body : std::string_view(message), kMaxEngineWords);
}

}  // namespace agent::platform
