#include "install/release_switch_json.hpp"

#include "base/json.hpp"

namespace agent::install {
namespace {

constexpr std::size_t kMaxSwitchBytes = std::size_t{8} * 1024 * 1024;
constexpr std::size_t kMaxServiceImages = 4096;

base::Json to_json(const AppRow& row) {
  return {{"app_id", row.app_id},
          {"uuid", row.uuid},
          {"name", row.name},
          {"release_id", row.release_id},
          {"commit", row.commit},
          {"source", row.source},
          {"services", row.services_json},
          {"volumes", row.volumes_json},
          {"networks", row.networks_json}};
}

base::Json to_json(const std::vector<ReleaseSwitch::ServiceImage>& images) {
  auto list = base::Json::array();
  for (const auto& image : images) {
    list.push_back(
        {{"service", image.service}, {"image", image.image.text()}, {"name", image.name}});
  }
  return list;
}

base::Json to_json(const std::optional<std::string>& text) {
  return text ? base::Json(*text) : base::Json();
}

base::Result<AppRow> parse_row(const base::Json& json, const std::string& where) {
  base::JsonObject object(json, where);
  AppRow row;
  row.app_id = object.number("app_id");
  row.uuid = object.text("uuid");
  row.name = object.text("name", kMaxSwitchBytes);
  row.release_id = object.number("release_id");
  row.commit = object.text("commit", kMaxSwitchBytes);
  row.source = object.text("source", kMaxSwitchBytes);
  row.services_json = object.text("services", kMaxSwitchBytes);
  row.volumes_json = object.text("volumes", kMaxSwitchBytes);
  row.networks_json = object.text("networks", kMaxSwitchBytes);
  OU_CHECK(object.finish());
  return row;
}

base::Result<std::vector<ReleaseSwitch::ServiceImage>> parse_images(const base::Json& json,
                                                                    const std::string& where) {
  std::vector<ReleaseSwitch::ServiceImage> images;
  if (json.size() > kMaxServiceImages) {
    return base::Error(base::ErrorCode::kLimitExceeded, where + " is too long");
  }
  for (const auto& value : json) {
    base::JsonObject object(value, where);
    const auto service = object.text("service");
    OU_TRY(const auto image, oci::Digest::parse(object.text("image")));
    images.push_back({service, image, object.text("name", 4096)});
    OU_CHECK(object.finish());
  }
  return images;
}

std::optional<std::string> parse_pin(base::JsonObject& object, const std::string& key) {
  return object.value(key).is_null() ? std::nullopt : object.optional_text(key, kMaxSwitchBytes);
}

base::Result<ReleaseSwitch> parse(std::string_view text) {
  base::JsonLimits limits{.max_bytes = kMaxSwitchBytes};
  limits.max_string_bytes = kMaxSwitchBytes;
  OU_TRY(const auto json, base::parse_json(text, limits));
  base::JsonObject object(json, "release_switch");
  ReleaseSwitch change;
  OU_TRY(change.old_row, parse_row(object.object("old_row"), "release_switch.old_row"));
  OU_TRY(change.new_row, parse_row(object.object("new_row"), "release_switch.new_row"));
  change.old_pin = parse_pin(object, "old_pin");
  change.new_pin = parse_pin(object, "new_pin");
  OU_TRY(change.old_images, parse_images(object.array("old_images"), "release_switch.old_images"));
  OU_TRY(change.new_images, parse_images(object.array("new_images"), "release_switch.new_images"));
  OU_CHECK(object.finish());
  return change;
}

}  // namespace

std::string to_json(const ReleaseSwitch& change) {
  return base::to_canonical({{"old_row", to_json(change.old_row)},
                             {"new_row", to_json(change.new_row)},
                             {"old_pin", to_json(change.old_pin)},
                             {"new_pin", to_json(change.new_pin)},
                             {"old_images", to_json(change.old_images)},
                             {"new_images", to_json(change.new_images)}});
}

base::Result<ReleaseSwitch> parse_release_switch(std::string_view json) {
  auto change = parse(json);
  if (!change) {
    return std::move(change).error().as(base::ErrorCode::kJournal);
  }
  return change;
}

}  // namespace agent::install
